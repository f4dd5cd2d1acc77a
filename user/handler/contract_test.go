package handler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/client"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/handler"
	"micromesh/user/proto/fakes"
	"micromesh/user/service"
	"micromesh/user/store"
	"micromesh/user/subscriber"

	userpb "micromesh/user/proto"
)

const (
	slug     = "joe"
	password = "password of joe"
)

// TestContract runs the same cases on the real handler and on the fake that tests of other services use in its place: what they rely on must
// be so.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(*testing.T) userpb.UserService{"real": realClient, "fake": fakeClient} {
		t.Run(name, func(t *testing.T) {
			c := &contract{T: t, client: open(t)}
			c.register()
			c.signIn()
			c.readSelf()
			c.permissions()
			c.enrolls()
		})
	}
}

type contract struct {
	*testing.T
	client userpb.UserService
	token  *userpb.Token
}

// signedIn is a context of the account.
func (c *contract) signedIn() context.Context { return bearer(c.Context(), c.token.GetToken()) }

func bearer(ctx context.Context, token string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
}

func (c *contract) fails(what string, err error, kind errs.Kind) {
	c.Helper()
	if !errs.Is(err, kind) {
		c.Errorf("%s: %v, want %s", what, err, kind.Code())
	}
}

func (c *contract) register() {
	out, err := c.client.Register(c.Context(), &userpb.RegisterRequest{Slug: slug, Password: password})
	if err != nil {
		c.Fatal(err)
	}
	c.token = out.GetToken()
	if !c.token.GetActive() || c.token.GetToken() == "" || c.token.GetUserId() == "" || c.token.GetApp().GetHost() != "unnamed" {
		c.Errorf("token %v", c.token)
	}
	_, err = c.client.Register(c.Context(), &userpb.RegisterRequest{Slug: slug, Password: password})
	c.fails("register twice", err, errs.Conflict)
	_, err = c.client.Register(c.Context(), &userpb.RegisterRequest{Slug: "a/b", Password: password})
	c.fails("register a bad slug", err, errs.Invalid)
}

func (c *contract) signIn() {
	out, err := c.client.Login(c.Context(), &userpb.LoginRequest{Slug: slug, Password: password})
	if err != nil || out.GetToken().GetUserId() != c.token.GetUserId() {
		c.Errorf("login: %v, %v", out, err)
	}
	_, err = c.client.Login(c.Context(), &userpb.LoginRequest{Slug: slug, Password: "wrong password"})
	c.fails("login with a wrong password", err, errs.Unauthenticated)
	_, err = c.client.Login(c.Context(), &userpb.LoginRequest{Slug: "nobody", Password: password})
	c.fails("login of nobody", err, errs.Unauthenticated)
}

func (c *contract) readSelf() {
	out, err := c.client.ReadSelf(c.signedIn(), &userpb.ReadSelfRequest{})
	if err != nil || out.GetUser().GetSlug() != slug || out.GetUser().GetId() != c.token.GetUserId() || len(out.GetRoles()) != 1 {
		c.Errorf("self: %v, %v", out, err)
	}
	_, err = c.client.SaveSelf(c.signedIn(), &userpb.SaveSelfRequest{Roles: []string{"user-svc:admin"}})
	c.fails("give oneself a role", err, errs.Forbidden)
}

func (c *contract) permissions() {
	out, err := c.client.HasPermission(c.signedIn(), &userpb.HasPermissionRequest{Permission: "pet-svc:pet:edit"})
	if err != nil || out.GetAuthorized() || out.GetUser().GetSlug() != slug || out.GetUntil() == "" {
		c.Errorf("permission: %v, %v", out, err)
	}
	_, err = c.client.SavePermits(c.signedIn(), &userpb.SavePermitsRequest{Permits: []*userpb.PermitInput{{Permission: "pet-svc:pet:edit", Slugs: []string{slug}}}})
	c.fails("permit oneself", err, errs.Forbidden)
}

func (c *contract) enrolls() {
	enroll := func(role, id string) (*userpb.SaveEnrollsResponse, error) {
		return c.client.SaveEnrolls(c.signedIn(), &userpb.SaveEnrollsRequest{Enrolls: []*userpb.EnrollInput{{Role: role, UserId: id}}})
	}
	out, err := enroll(slug+":friend", c.token.GetUserId())
	if err != nil || len(out.GetEnrolls()) != 1 || out.GetEnrolls()[0].GetRole() != slug+":friend" || out.GetEnrolls()[0].ContactId != nil {
		c.Errorf("enroll: %v, %v", out, err)
	}
	_, err = enroll("user-svc:admin", c.token.GetUserId())
	c.fails("enroll oneself as an admin", err, errs.Forbidden)
	_, err = enroll(slug+":friend", "none")
	c.fails("enroll nobody", err, errs.NotFound)
}

// fakeClient is the fake as a test of another service sets it up: it knows one account.
func fakeClient(*testing.T) userpb.UserService {
	token := &userpb.Token{Id: "t", UserId: "u", Active: true, Token: "jwt", App: &userpb.App{Id: "unnamed", Host: "unnamed"}, AppId: "unnamed"}
	user := &userpb.User{Id: "u", Slug: slug}
	f := &fakes.UserService{}
	registered := false
	f.RegisterStub = func(_ context.Context, in *userpb.RegisterRequest, _ ...client.CallOption) (*userpb.RegisterResponse, error) {
		switch {
		case strings.Contains(in.GetSlug(), "/"):
			return nil, errs.Field("slug", "slug", "is bad")
		case registered:
			return nil, errs.Conflictf("taken")
		}
		registered = true
		return &userpb.RegisterResponse{Token: token}, nil
	}
	f.LoginStub = func(_ context.Context, in *userpb.LoginRequest, _ ...client.CallOption) (*userpb.LoginResponse, error) {
		if in.GetSlug() != slug || in.GetPassword() != password {
			return nil, errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "wrong")
		}
		return &userpb.LoginResponse{Token: token}, nil
	}
	f.ReadSelfReturns(&userpb.ReadSelfResponse{User: user, Roles: []string{"user-svc:user"}}, nil)
	f.SaveSelfReturns(nil, errs.Forbiddenf("roles"))
	f.HasPermissionReturns(&userpb.HasPermissionResponse{User: user, Until: "2026-01-02T03:04:05.000000Z"}, nil)
	f.SavePermitsReturns(nil, errs.Forbiddenf("not yours"))
	f.SaveEnrollsStub = func(_ context.Context, in *userpb.SaveEnrollsRequest, _ ...client.CallOption) (*userpb.SaveEnrollsResponse, error) {
		e := in.GetEnrolls()[0]
		switch {
		case !strings.HasPrefix(e.GetRole(), slug+":"):
			return nil, errs.Forbiddenf("not yours")
		case e.GetUserId() != "u":
			return nil, errs.NotFoundf("nobody")
		}
		return &userpb.SaveEnrollsResponse{Enrolls: []*userpb.Enroll{{Id: "e", Role: e.GetRole(), UserId: &e.UserId}}}, nil
	}
	return f
}

// realClient is the real handler and domain on a real database, called without a network.
func realClient(t *testing.T) userpb.UserService {
	t.Helper()
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	if err := store.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	box, err := secret.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{issued: map[string]*auth.Claims{}}
	svc, err := service.New(service.Config{TokenLife: time.Minute, SessionLife: time.Hour, KeyLife: time.Hour}, service.Ports{
		Store: store.New(db, subscriber.Encode), Sealer: box, Signer: w, Mailer: w, Permits: w, Replica: w,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Prepare(t.Context(), service.Admin{Slug: "admin", Password: "admin password"}); err != nil {
		t.Fatal(err)
	}
	return direct(handler.New(svc, w), w)
}
