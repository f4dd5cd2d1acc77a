// Package api holds the description of the service's HTTP API.
package api

import _ "embed"

// OpenAPI is the description, as YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
