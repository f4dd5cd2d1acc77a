package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"

	"micromesh/gateway/http1"
	"micromesh/gateway/http1/wire"
	"micromesh/gateway/transcode"
	"micromesh/pkg/errs"
)

const (
	mostGuesses  = 8      // tries of one call, for fields whose types are not known
	mostGuessers = 10_000 // methods whose fields' types were found out
)

// guestInput is the sources of a guest's message: see [transcode.Binding.Merge].
type guestInput struct {
	body  []byte
	query string
	named map[string]string
}

// callGuest calls a method of a service that may be a guest, and passes its answer on. A guest that can't decode a text gets it in another
// form; its handler has not run then.
func (g *Gateway) callGuest(x *http1.Exchange, b *transcode.Binding, in guestInput, token string) {
	b.Use(g.guesses.of(b))
	msg, err := b.Merge(in.body, in.query, in.named)
	if err == nil && !json.Valid(msg) {
		err = errs.New(errs.Invalid, "INVALID_JSON", "the body is not valid JSON")
	}
	var identity metadata.MD
	if err == nil {
		identity, err = g.identityOf(x, b.Service, token)
	}
	if err != nil {
		g.fail(x, err)
		return
	}
	g.passOn(x, b, token, func(ctx context.Context, md metadata.MD) (answer []byte, trailer metadata.MD, err error) {
		md = metadata.Join(md, identity, g.allowedHeaders(x))
		for range mostGuesses {
			answer, trailer, err = g.cfg.RPC.RawGuest(ctx, b.Service, b.Endpoint, msg, md)
			again, mistake := correct(b, err)
			if mistake != nil {
				return nil, nil, mistake
			}
			if !again {
				break
			}
			if msg, err = b.Merge(in.body, in.query, in.named); err != nil {
				return nil, nil, err
			}
		}
		if err == nil {
			g.guesses.keep(b)
		}
		return answer, trailer, err
	})
}

// correct is [transcode.Binding.Correct] for the error of a call.
func correct(b *transcode.Binding, err error) (again bool, mistake error) {
	e := errs.From(err)
	if e == nil || e.Kind != errs.Internal || e.Unwrap() == nil {
		return false, nil
	}
	return b.Correct(e.Unwrap().Error())
}

// guesses are the forms of guests' fields that were found out, by service and method.
type guesses struct {
	mu   sync.Mutex
	list map[string]transcode.Guess
}

func (g *guesses) of(b *transcode.Binding) transcode.Guess {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list[b.Service+"/"+b.Endpoint]
}

func (g *guesses) keep(b *transcode.Binding) {
	found := b.Guess()
	if len(found) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.list == nil || len(g.list) >= mostGuessers {
		g.list = map[string]transcode.Guess{}
	}
	g.list[b.Service+"/"+b.Endpoint] = found
}

// identityOf is the metadata that names the verified caller to a guest, as header fields name it to an instance. Fields of
// the client are not part of it.
//
// Errors: NotAMember if the caller asks to act for an organization of others.
func (g *Gateway) identityOf(x *http1.Exchange, service, token string) (metadata.MD, error) {
	if token == "" || g.guest(service) == nil {
		return nil, nil
	}
	c := g.verified(token)
	if c == nil {
		return nil, nil
	}
	md := metadata.MD{"x-user-id": {c.UserID}, "x-user-slug": {c.Slug}, "x-roles": {c.RoleList()}}
	organization, err := actsFor(x, c)
	if err != nil {
		return nil, err
	}
	if organization != "" {
		md["x-org-id"] = []string{organization}
	}
	return md, nil
}

// GuestHeaders are the header fields of clients that guests receive as metadata, unless a setting names more.
var GuestHeaders = []string{"Accept-Language", "Baggage", "Idempotency-Key", "Tracestate"}

// CheckGuestHeader returns an error if a header field must not be passed on to guests: those that name a caller, that say how a message is
// to be read, or that mean something to go-micro.
func CheckGuestHeader(name string) error {
	lower := strings.ToLower(name)
	if lower == "" || strings.ContainsFunc(lower, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
		return fmt.Errorf("%q, which is no name of a header field; it must be letters, digits and hyphens, such as X-Tenant", name)
	}
	for _, prefix := range []string{"micro-", "x-forwarded-", "x-user-", "x-org-", "grpc-", "mesh-", "proxy-"} {
		if strings.HasPrefix(lower, prefix) {
			return fmt.Errorf("%s, which the gateway sets or drops itself; it must be another field", name)
		}
	}
	if slices.Contains(reservedHeaders, lower) || strings.HasSuffix(lower, "-bin") {
		return fmt.Errorf("%s, which the gateway sets or drops itself; it must be another field", name)
	}
	return nil
}

// reservedHeaders are fields that no setting passes on to guests.
var reservedHeaders = []string{
	"authorization", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "forwarded", "host", "http2-settings",
	"keep-alive", "local", "remote", "te", "timeout", "topic", "traceparent", "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
	"x-client-ip", "x-mesh-hops", "x-real-ip", "x-request-id", "x-roles", "x-scopes",
}

// allowedHeaders is the metadata of the client's header fields that guests receive. Several fields of one name are joined with commas.
func (g *Gateway) allowedHeaders(x *http1.Exchange) metadata.MD {
	md := metadata.MD{}
	for _, f := range x.Fields() {
		for _, name := range g.guestHeaders {
			if !wire.EqualFold(f.Name, name) || len(f.Value) == 0 {
				continue
			}
			value := string(f.Value)
			if before := md[name]; len(before) > 0 {
				value = before[0] + ", " + value
			}
			md[name] = []string{value}
		}
	}
	return md
}
