package contract_test

import (
	"context"
	"strings"
	"testing"

	"go-micro.dev/v5/client"
	"go-micro.dev/v5/metadata"

	"micromesh/internal/meshtest"
	"micromesh/pkg/errs"
	proxypb "micromesh/proxy/proto"
	proxyfakes "micromesh/proxy/proto/fakes"
	registrypb "micromesh/registry/proto"
	registryfakes "micromesh/registry/proto/fakes"
	"micromesh/sdk/go/contract"
	userpb "micromesh/user/proto"
	userfakes "micromesh/user/proto/fakes"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

// fakeUsers is the user service with one account, joe, who is signed in where the call carries a token.
func fakeUsers() *userfakes.UserService {
	f := &userfakes.UserService{}
	signedIn := func(ctx context.Context) bool { token, _ := metadata.Get(ctx, "authorization"); return token != "" }
	f.ReadSelfStub = func(ctx context.Context, _ *userpb.ReadSelfRequest, _ ...client.CallOption) (*userpb.ReadSelfResponse, error) {
		if !signedIn(ctx) {
			return nil, errs.New(errs.Unauthenticated, "", "sign in")
		}
		user := &userpb.User{Id: "usr_1", Slug: "joe", Name: "joe", CreatedAt: "2026-01-01T00:00:00Z", UpdatedAt: "2026-01-01T00:00:00Z"}
		return &userpb.ReadSelfResponse{User: user, Roles: []string{"user-svc:user"}}, nil
	}
	f.RegisterReturns(nil, errs.New(errs.Conflict, "SLUG_TAKEN", "taken"))
	f.LoginReturns(nil, errs.New(errs.Unauthenticated, "INVALID_CREDENTIALS", "no"))
	f.ListUsersReturns(nil, errs.Forbiddenf("admins alone"))
	return f
}

// TestFakeUsers holds the fake above against the service, as any author's tests would.
func TestFakeUsers(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t)
	joe := metadata.NewContext(t.Context(), metadata.Metadata{"authorization": "Bearer " + m.Register(t, "joe")})
	fake := fakeUsers()
	contract.Test[userpb.UserService](t, userpb.NewUserService("user-svc", m.Host.Client), fake, []contract.Case[userpb.UserService]{
		{Name: "who am I", Ignore: []string{"id", "createdAt", "updatedAt", "tokenCount", "name", "labels"}, Call: func(_ context.Context, c userpb.UserService) (any, error) {
			return c.ReadSelf(joe, &userpb.ReadSelfRequest{})
		}},
		{Name: "nobody", Call: func(ctx context.Context, c userpb.UserService) (any, error) {
			return c.ReadSelf(ctx, &userpb.ReadSelfRequest{})
		}},
		{Name: "a slug that is taken", Call: func(ctx context.Context, c userpb.UserService) (any, error) {
			return c.Register(ctx, &userpb.RegisterRequest{AppHost: "unnamed", Slug: "joe", Password: "password-of-joe"})
		}},
		{Name: "a wrong password", Call: func(ctx context.Context, c userpb.UserService) (any, error) {
			return c.Login(ctx, &userpb.LoginRequest{AppHost: "unnamed", Slug: "joe", Password: "wrong-password"})
		}},
		{Name: "what admins see", Call: func(_ context.Context, c userpb.UserService) (any, error) {
			return c.ListUsers(joe, &userpb.ListUsersRequest{})
		}},
	})
	// What was asked, counterfeiter has noted: how often, and with what.
	if n := fake.RegisterCallCount(); n != 1 {
		t.Errorf("%d calls of Register", n)
	}
	if _, in, _ := fake.LoginArgsForCall(0); in.Slug != "joe" {
		t.Errorf("Login was asked for %q", in.Slug)
	}
}

func TestFakeRegistryAndProxy(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t)
	admin := metadata.NewContext(t.Context(), metadata.Metadata{"authorization": "Bearer " + m.Admin(t)})

	reg := &registryfakes.RegistryService{}
	reg.RegisterInstanceReturnsOnCall(0, &registrypb.RegisterInstanceResponse{Id: "i1", Generation: 1, LeaseSeconds: 30}, nil)
	reg.RegisterInstanceReturnsOnCall(1, nil, errs.Field("url", "format", "is no URL"))
	contract.Test[registrypb.RegistryService](t, registrypb.NewRegistryService("registry-svc", m.Host.Client), reg, []contract.Case[registrypb.RegistryService]{
		{Name: "an instance", Ignore: []string{"id", "instance", "leaseSeconds", "generation", "lease", "heartbeatSeconds"}, Call: func(_ context.Context, c registrypb.RegistryService) (any, error) {
			return c.RegisterInstance(admin, &registrypb.RegisterInstanceRequest{Url: "http://127.0.0.1:9"})
		}},
		{Name: "a URL that is none", Call: func(_ context.Context, c registrypb.RegistryService) (any, error) {
			return c.RegisterInstance(admin, &registrypb.RegisterInstanceRequest{Url: "ftp://127.0.0.1:9"})
		}},
	})

	proxy := &proxyfakes.ProxyService{}
	routes := []*proxypb.Route{{Id: "a.example.com", Target: "http://10.0.0.1:80"}}
	proxy.SaveRoutesReturns(&proxypb.SaveRoutesResponse{Routes: routes}, nil)
	proxy.ListRoutesReturns(&proxypb.ListRoutesResponse{Routes: routes}, nil)
	contract.Test[proxypb.ProxyService](t, proxypb.NewProxyService("proxy-svc", m.Host.Client), proxy, []contract.Case[proxypb.ProxyService]{
		{Name: "a route", Call: func(_ context.Context, c proxypb.ProxyService) (any, error) {
			return c.SaveRoutes(admin, &proxypb.SaveRoutesRequest{Routes: []*proxypb.RouteInput{{Id: "a.example.com", Target: "http://10.0.0.1:80"}}})
		}},
		{Name: "all routes", Call: func(_ context.Context, c proxypb.ProxyService) (any, error) {
			return c.ListRoutes(admin, &proxypb.ListRoutesRequest{})
		}},
	})
}

// pets is any interface.
type pets interface {
	Pet(name string) (map[string]any, error)
}

type petsFunc func(name string) (map[string]any, error)

func (f petsFunc) Pet(name string) (map[string]any, error) { return f(name) }

// TestCompareFindsWhatAFakeGetsWrong has fakes that promise something else than the service does.
func TestCompareFindsWhatAFakeGetsWrong(t *testing.T) {
	t.Parallel()
	service := petsFunc(func(name string) (map[string]any, error) {
		if name == "" {
			return nil, errs.Field("name", "required", "is missing")
		}
		return map[string]any{"id": "7f", "name": name, "tags": []any{map[string]any{"id": "x"}}}, nil
	})
	cases := []contract.Case[pets]{
		{Name: "rex", Ignore: []string{"id"}, Call: func(_ context.Context, c pets) (any, error) { return c.Pet("rex") }},
		{Name: "none", Call: func(_ context.Context, c pets) (any, error) { return c.Pet("") }},
	}
	right := func(string) map[string]any {
		return map[string]any{"id": "other", "name": "rex", "tags": []any{map[string]any{"id": "y"}}}
	}
	wrongName := errs.Field("name", "required", "another message")
	for name, row := range map[string]struct {
		rex  func(string) map[string]any
		none error
		want string // cases that differ
	}{
		"it is right":           {right, wrongName, ""},
		"another value":         {func(string) map[string]any { m := right(""); m["name"] = "max"; return m }, wrongName, "rex"},
		"a field too much":      {func(string) map[string]any { m := right(""); m["age"] = 3; return m }, wrongName, "rex"},
		"no id":                 {func(string) map[string]any { m := right(""); delete(m, "id"); return m }, wrongName, "rex"},
		"an error of old":       {right, errs.NotFoundf("x"), "none"},
		"another field":         {right, errs.Field("slug", "required", "is missing"), "none"},
		"no error where one is": {right, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := petsFunc(func(name string) (map[string]any, error) {
				if name == "" {
					return nil, row.none
				}
				return row.rex(name), nil
			})
			var got []string
			for _, d := range contract.Compare[pets](t.Context(), service, fake, cases) {
				got = append(got, d.Case)
				if !strings.Contains(d.Diff, "-") && !strings.Contains(d.Diff, "+") {
					t.Errorf("the difference tells nothing: %s", d.Diff)
				}
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("%v differ, want %q", got, row.want)
			}
		})
	}
}
