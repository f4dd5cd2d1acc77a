package stock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/ident"
)

const (
	// LoginSubject is the beginning of the subjects by which a program proves its login: "mesh.login.<slug>.…" may be published by the
	// login of that account alone, and heard by the registry alone (internal/provision).
	LoginSubject = "mesh.login."

	maxClaims = 200 // names of accounts that guests have come under
)

// claims are the names of accounts that programs have come under. Each is asked for with a reply subject that only the account's own login
// may publish to: whoever answers there has that login. The question goes to programs of that name alone.
type claims struct {
	nonce string // of this bridge, so that answers to other bridges are ignored
	names map[string]bool
}

func newClaims() claims { return claims{nonce: strings.ToLower(rand.Text()), names: map[string]bool{}} }

// claim notes that a program has come under a name of an account.
func (c claims) claim(name string) {
	if ident.Slug(name) == nil && len(c.names) < maxClaims {
		c.names[name] = true
	}
}

// claimed asks programs under the names of accounts to prove their logins.
func (b *Bridge) claimed() {
	for name := range b.claims.names {
		question, err := json.Marshal(&registry.Result{Action: "get", Service: &registry.Service{Name: name}})
		if err != nil {
			continue
		}
		err = b.cfg.NATS.PublishMsg(&nats.Msg{Subject: querySubject, Reply: LoginSubject + name + "." + b.claims.nonce, Data: question})
		if err != nil {
			b.cfg.Logger.Debug("stock_query_failed", "name", name, "error", err)
		}
	}
}

// prove takes up an answer on a subject of a login, and brings its nodes in under the login's name.
func (b *Bridge) prove(ctx context.Context, m *nats.Msg) {
	slug, nonce, _ := strings.Cut(strings.TrimPrefix(m.Subject, LoginSubject), ".")
	var s *registry.Service
	if nonce != b.claims.nonce || json.Unmarshal(m.Data, &s) != nil || s == nil || s.Name != slug {
		return
	}
	b.welcome(ctx, s, true)
}
