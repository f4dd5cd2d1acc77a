package routes

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of routes.yaml, for editors. It knows the shape; [Parse] knows all the rules.
//
//go:embed schema.json
var Schema []byte
