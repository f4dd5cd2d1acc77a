package handler

import (
	"encoding/json"
	"net/http"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
)

// SchemasPath is where the gateway tells how it stands with the schemas of services, to admins alone.
const SchemasPath = "/gateway-svc/schemas"

// SchemaStates serves a list of what Status gives.
type SchemaStates struct {
	Status   func() any
	Verifier *auth.Verifier
	Gateway  *Gateway
}

// ServeHTTP1 answers an admin.
func (s *SchemaStates) ServeHTTP1(x *http1.Exchange) {
	if err := admin(s.Verifier, auth.Bearer(string(x.Get("authorization")))); err != nil {
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

// admin tells why a token is not an admin's, or nil.
func admin(v *auth.Verifier, token string) error {
	c, err := v.Verify(token)
	if err != nil {
		return err
	}
	if !c.IsAdmin() {
		return errs.Forbiddenf("this takes the role %s", auth.RoleAdmin)
	}
	return nil
}
