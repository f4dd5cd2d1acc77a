package handler

import (
	"encoding/json"
	"net/http"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
)

// ProgramsPath is the path of the list of programs in plain go-micro that were found.
const ProgramsPath = "/gateway-svc/guests"

// Program is a program in plain go-micro that was found.
type Program struct {
	Name   string `json:"name"`
	Nodes  int    `json:"nodes"`
	Reason string `json:"reason,omitempty"` // why requests don't reach it
}

// Programs serves the list that All returns.
type Programs struct {
	All     func() []Program
	Gateway *Gateway
}

// ServeHTTP1 answers with the list.
func (p *Programs) ServeHTTP1(x *http1.Exchange) {
	if err := p.Gateway.permitted(auth.Bearer(string(x.Get("authorization"))), "gateway-svc:guest:view"); err != nil {
		p.Gateway.fail(x, err)
		return
	}
	b, err := json.Marshal(map[string]any{"guests": p.All()})
	if err != nil {
		p.Gateway.fail(x, err)
		return
	}
	x.Header().Set("Cache-Control", "no-store")
	x.Respond(http.StatusOK, jsonType, b)
}
