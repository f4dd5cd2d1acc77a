// Package directory is a directory of RPC nodes that knows one service, which never changes.
package directory

import (
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
)

// Fixed knows one service.
type Fixed struct{ service *discovery.Service }

var _ discovery.Directory = Fixed{}

// Of gives the directory that knows that service.
func Of(s *registry.Service) Fixed { return Fixed{discovery.NewService(s)} }

// Lookup gives the service, whatever its name.
func (f Fixed) Lookup(string) *discovery.Service { return f.service }

// OnChange never calls.
func (Fixed) OnChange(func(string)) func() { return func() {} }
