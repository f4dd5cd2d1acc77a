package handler

import (
	"encoding/json"
	"net/http"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
)

// SchemasPath is the path that lists the schemas of services, and why some are refused.
const SchemasPath = "/gateway-svc/schemas"

// SchemaStates serves a list of what Status gives.
type SchemaStates struct {
	Status  func() any
	Gateway *Gateway
}

// ServeHTTP1 lists the states.
func (s *SchemaStates) ServeHTTP1(x *http1.Exchange) {
	if err := s.Gateway.permitted(auth.Bearer(string(x.Get("authorization"))), "gateway-svc:schema:view"); err != nil {
		s.Gateway.fail(x, err)
		return
	}
	b, err := json.Marshal(map[string]any{"schemas": s.Status()})
	if err != nil {
		s.Gateway.fail(x, err)
		return
	}
	x.Header().Set("Cache-Control", "no-store")
	x.Respond(http.StatusOK, jsonType, b)
}

// permitted refuses a token whose caller doesn't hold a permission.
func (g *Gateway) permitted(token, permission string) error {
	c, err := g.cfg.Verifier.Verify(token)
	if err != nil {
		return err
	}
	return auth.Allow(c, permission, g.cfg.Permits)
}
