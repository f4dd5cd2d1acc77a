package handler_test

import (
	"context"
	"crypto/rsa"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go-micro.dev/v5/client"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/auth"
	"micromesh/user/handler"
	"micromesh/user/proto/fakes"
	"micromesh/user/service"

	userpb "micromesh/user/proto"
)

// world is what the domain needs beside a database: it signs by remembering, and has no permits.
type world struct {
	mu     sync.Mutex
	issued map[string]*auth.Claims // by token
}

// Sign implements service.Signer.
func (w *world) Sign(_ *rsa.PrivateKey, t service.Token) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issued["jwt "+t.ID] = &auth.Claims{
		UserID: t.UserID, Slug: t.Slug, Roles: t.Roles, AppID: t.AppID, Device: t.Device, SessionID: t.SessionID,
		RegisteredClaims: jwt.RegisteredClaims{ID: t.ID, IssuedAt: jwt.NewNumericDate(t.IssuedAt), ExpiresAt: jwt.NewNumericDate(t.ExpiresAt)},
	}
	return "jwt " + t.ID, nil
}

// SignFor implements service.Signer.
func (w *world) SignFor(key *rsa.PrivateKey, t service.Token, _ string) (string, error) {
	return w.Sign(key, t)
}

// VerifySigned implements handler.Verifier.
func (w *world) VerifySigned(token string) (*auth.Claims, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.issued[token]; ok {
		return c, nil
	}
	return nil, auth.ErrBadToken
}

// Send implements service.Mailer.
func (*world) Send(context.Context, service.Mail) error { return nil }

// From implements service.Mailer.
func (*world) From() (name, address string) { return "", "" }

// Permitted implements service.Permits.
func (*world) Permitted(service.Caller, string) bool { return false }

// Permissions implements service.Permits.
func (*world) Permissions(service.Caller) []string { return nil }

// Changed implements service.Replica.
func (*world) Changed(context.Context, service.Changes) {}

// direct gives a client that calls a handler without a network. The caller is identified as the server does it.
func direct(h *handler.Handler, w *world) userpb.UserService {
	f := &fakes.UserService{}
	f.RegisterStub = calling(w, h.Register)
	f.LoginStub = calling(w, h.Login)
	f.RefreshTokenStub = calling(w, h.RefreshToken)
	f.ReadSelfStub = calling(w, h.ReadSelf)
	f.SaveSelfStub = calling(w, h.SaveSelf)
	f.HasPermissionStub = calling(w, h.HasPermission)
	f.SavePermitsStub = calling(w, h.SavePermits)
	f.SaveEnrollsStub = calling(w, h.SaveEnrolls)
	return f
}

func calling[In, Out any](w *world, handle func(context.Context, *In, *Out) error) func(context.Context, *In, ...client.CallOption) (*Out, error) {
	return func(ctx context.Context, in *In, _ ...client.CallOption) (*Out, error) {
		if v := metadata.ValueFromIncomingContext(ctx, "authorization"); len(v) > 0 {
			token := auth.Bearer(v[0])
			claims, err := w.VerifySigned(token)
			if err != nil {
				return nil, err
			}
			ctx = auth.NewContext(ctx, claims, token)
		}
		out := new(Out)
		if err := handle(ctx, in, out); err != nil {
			return nil, err
		}
		return out, nil
	}
}

func date(t time.Time) *jwt.NumericDate { return jwt.NewNumericDate(t) }
