// Package handler is the user service's RPC: it turns messages into calls of the domain and back, and nothing else.
package handler

import (
	"context"
	"time"

	"google.golang.org/grpc/metadata"

	"micromesh/pkg/auth"
	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// clientIP is the metadata in which the gateway tells the address of the client.
const clientIP = "x-client-ip"

// local is the address of callers who came through no gateway.
const local = "local"

// Verifier verifies the signature of a token that may have expired. An *auth.Verifier does.
type Verifier interface {
	VerifySigned(token string) (*auth.Claims, error)
}

// Handler implements the generated server interface.
type Handler struct {
	svc      *service.Service
	verifier Verifier
}

var _ userpb.UserServiceHandler = (*Handler)(nil)

// New makes a handler.
func New(svc *service.Service, verifier Verifier) *Handler {
	return &Handler{svc: svc, verifier: verifier}
}

// caller gives who calls, as the verified token says it.
func (h *Handler) caller(ctx context.Context) service.Caller {
	c := auth.FromContext(ctx)
	if c == nil {
		return service.Caller{IP: ipOf(ctx)}
	}
	out := callerOf(c)
	out.IP = ipOf(ctx)
	return out
}

func callerOf(c *auth.Claims) service.Caller {
	return service.Caller{
		UserID: c.UserID, Slug: c.Slug, Roles: c.Roles, AppID: c.AppID, Device: c.Device, ActiveOrg: c.ActiveOrg,
		SessionID: c.SessionID, TokenID: c.ID, IssuedAt: c.IssuedAt.Time, ExpiresAt: c.ExpiresAt.Time,
	}
}

func ipOf(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, clientIP); len(v) > 0 && v[0] != "" {
		return v[0]
	}
	return local
}

// timeText writes a time for clients.
func timeText(t time.Time) string { return t.UTC().Format(service.TimeFormat) }

// optional leaves out what is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return optional(timeText(t))
}

// each turns a list into another.
func each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}
