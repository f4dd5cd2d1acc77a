package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/client"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	rpcserver "micromesh/pkg/rpc/server"
	"micromesh/pkg/secret"
	userpb "micromesh/user/proto"
	"micromesh/user/proto/fakes"
)

// fixture is the user service's contract, answered by a fake behind the real server.
type fixture struct {
	host *host.Host
	fake *fakes.UserServiceHandler
	user userpb.UserService
	key  *rsa.PrivateKey
	log  *bytes.Buffer
	stop context.CancelFunc // tells the server to end
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureThat(t, 0)
}

// newFixtureThat serves for a while after it has left discovery.
func newFixtureThat(t *testing.T, lingers time.Duration) *fixture {
	t.Helper()
	nc, js := natstest.Start(t).Connect()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{fake: &fakes.UserServiceHandler{}, log: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(cancel)
	if f.host, err = host.New(ctx, host.Config{NATS: nc, Secrets: box, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	f.publishKey(t, js)
	ln, err := f.host.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := rpcserver.New(rpcserver.Config{
		Name: "user-svc", ID: "1", Listener: ln, Registry: f.host.Registry, Verifier: f.host.Verifier, Permits: f.host.Auth,
		Logger: slog.New(slog.NewTextHandler(f.log, nil)), Metrics: f.host.Metrics,
		Files: []protoreflect.FileDescriptor{userpb.File_user_v1_user_proto}, Linger: lingers,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := userpb.RegisterUserServiceHandler(srv, f.fake); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	f.stop = stop
	go func() { done <- srv.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := f.host.Close(); err != nil {
			t.Error(err)
		}
	})
	f.user = userpb.NewUserService("user-svc", f.host.Client)
	f.awaitServer(t)
	return f
}

func (f *fixture) publishKey(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	var err error
	if f.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(auth.Key{ID: "k1", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{kv.Keys, kv.Permits, kv.Revocations} {
		bucket, err := kv.Open(t.Context(), js, name, kv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if name == kv.Keys {
			if _, err := bucket.Put(t.Context(), "k1", b); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.host.Auth.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// awaitServer waits until calls arrive.
func (f *fixture) awaitServer(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := f.user.GetPublicKey(ctx, &userpb.GetPublicKeyRequest{})
		if err == nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func (f *fixture) token(t *testing.T, roles ...string) string {
	t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "usr_1", Slug: "joe", Roles: roles, SessionID: "ses_1",
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Subject: "usr_1", Audience: jwt.ClaimStrings{auth.Audience}, ID: "tok_1",
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
		},
	})
	tok.Header["kid"] = "k1"
	s, err := tok.SignedString(f.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw calls with JSON, as the gateway does.
func (f *fixture) raw(t *testing.T, endpoint, token, body string, more ...string) (string, error) {
	t.Helper()
	md := metadata.Pairs(more...)
	if token != "" {
		md.Set("authorization", "Bearer "+token)
	}
	out, _, err := f.host.RPC.Raw(t.Context(), "user-svc", endpoint, "json", []byte(body), md)
	return string(out), err
}

// TestCallersWhoHaveNotHeardAreServed calls a server that was told to end, by the address that it had.
func TestCallersWhoHaveNotHeardAreServed(t *testing.T) {
	f := newFixtureThat(t, time.Second)
	address := f.host.Nodes.Lookup("user-svc").Nodes[0].Address
	f.stop()
	for deadline := time.Now().Add(20 * time.Second); f.host.Nodes.Lookup("user-svc") != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never left discovery")
		}
	}
	if _, err := f.user.GetPublicKey(t.Context(), &userpb.GetPublicKeyRequest{}, client.WithAddress(address)); err != nil {
		t.Errorf("who has not heard got %v", err)
	}
}

func TestAccessRules(t *testing.T) {
	f := newFixture(t)
	user, admin := f.token(t, auth.RoleUser), f.token(t, auth.RoleUser, auth.RoleAdmin)
	rows := []struct {
		name, endpoint, token, body string
		want                        string // code; empty is success
	}{
		{"public method, nobody", "UserService.GetPublicKey", "", "{}", ""},
		{"public method, bad token", "UserService.GetPublicKey", "bad", "{}", ""},
		{"signed-in method, nobody", "UserService.ReadSelf", "", "{}", "UNAUTHENTICATED"},
		{"signed-in method, bad token", "UserService.ReadSelf", "bad", "{}", "INVALID_TOKEN"},
		{"signed-in method, user", "UserService.ReadSelf", user, "{}", ""},
		{"admin's method, nobody", "UserService.ListUsers", "", "{}", "UNAUTHENTICATED"},
		{"admin's method, user", "UserService.ListUsers", user, "{}", "FORBIDDEN"},
		{"admin's method, admin", "UserService.ListUsers", admin, "{}", ""},
		{"method that does not exist", "UserService.Nothing", admin, "{}", "NOT_FOUND"},
		{"handler that does not exist", "Debug.Stats", admin, "{}", "NOT_FOUND"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := f.raw(t, r.endpoint, r.token, r.body)
			got := ""
			if err != nil {
				got = errs.From(err).Code
			}
			if got != r.want {
				t.Errorf("code %q (%v), want %q", got, err, r.want)
			}
		})
	}
}

func TestMetadataNamesNobody(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"x-user-id", "micro-user", "x-roles", "user-id"} {
		if _, err := f.raw(t, "UserService.ReadSelf", "", "{}", name, "usr_1"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("metadata %s: %v, want Unauthenticated", name, err)
		}
	}
	if n := f.fake.ReadSelfCallCount(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestHandlerSeesTheVerifiedCaller(t *testing.T) {
	f := newFixture(t)
	seen := make(chan *auth.Claims, 1)
	f.fake.ReadSelfStub = func(ctx context.Context, _ *userpb.ReadSelfRequest, _ *userpb.ReadSelfResponse) error {
		seen <- auth.FromContext(ctx)
		return nil
	}
	if _, err := f.raw(t, "UserService.ReadSelf", f.token(t, auth.RoleUser), "{}", "x-user-id", "usr_evil"); err != nil {
		t.Fatal(err)
	}
	if c := <-seen; c == nil || c.UserID != "usr_1" {
		t.Errorf("the handler saw %+v", c)
	}
}

// TestLengthsAreCharacters sends as many characters as the description's maxLength says, of one to four bytes each.
func TestLengthsAreCharacters(t *testing.T) {
	f := newFixture(t)
	for _, c := range []string{"x", "ü", "€", "😀"} {
		_, err := f.raw(t, "UserService.Register", "", `{"slug":"ab","password":"`+strings.Repeat(c, 1024)+`"}`)
		if errs.Is(err, errs.Invalid) {
			t.Errorf("1,024 of %s: %v", c, err)
		}
		_, err = f.raw(t, "UserService.Register", "", `{"slug":"ab","password":"`+strings.Repeat(c, 1025)+`"}`)
		if e := errs.From(err); e == nil || e.Kind != errs.Invalid || e.Message != "password has 1025 characters; at most 1024 are allowed" {
			t.Errorf("1,025 of %s: %v", c, err)
		}
	}
}

func TestInputIsCheckedBeforeTheHandler(t *testing.T) {
	f := newFixture(t)
	tok := f.token(t, auth.RoleUser, auth.RoleAdmin)
	long := strings.Repeat("x", 1025)
	rows := []struct{ name, endpoint, body, code, field, rule string }{
		{"required field missing", "UserService.Register", `{}`, "VALIDATION_ERROR", "slug", "required"},
		{"required field of a nested message", "UserService.SaveEnrolls", `{"enrolls":[{}]}`, "VALIDATION_ERROR", "enrolls[0].role", "required"},
		{"required list empty", "UserService.SaveEnrolls", `{"enrolls":[]}`, "VALIDATION_ERROR", "enrolls", "required"},
		{"password of 1,025 bytes", "UserService.Register", `{"slug":"ab","password":"` + long + `"}`, "VALIDATION_ERROR", "password", "max_bytes"},
		{"password of 1,025 characters of two bytes", "UserService.Register", `{"slug":"ab","password":"` + strings.Repeat("ü", 1025) + `"}`, "VALIDATION_ERROR", "password", "max_bytes"},
		{"slug of 1,025 bytes", "UserService.Register", `{"slug":"` + long + `"}`, "VALIDATION_ERROR", "slug", "max_bytes"},
		{"NUL", "UserService.Register", `{"slug":"a\u0000b"}`, "VALIDATION_ERROR", "slug", "no_nul"},
		{"none of the values", "UserService.ListUsers", `{"order":"sideways"}`, "VALIDATION_ERROR", "order", "one_of"},
		{"wrong type", "UserService.ListUsers", `{"limit":"many"}`, "INVALID_JSON", "", ""},
		{"number out of range", "UserService.ListUsers", `{"limit":1e400}`, "INVALID_JSON", "", ""},
		{"not JSON", "UserService.ListUsers", `{"limit"`, "INVALID_JSON", "", ""},
		{"nested too deep", "UserService.ListUsers", `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, "INVALID_JSON", "", ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := f.raw(t, r.endpoint, tok, r.body)
			e := errs.From(err)
			if e == nil || e.Kind != errs.Invalid || e.Code != r.code {
				t.Fatalf("got %v, want %s", err, r.code)
			}
			if r.field != "" && (len(e.Details) == 0 || e.Details[0].Field != r.field || e.Details[0].Rule != r.rule) {
				t.Errorf("details are %+v, want %s %s", e.Details, r.field, r.rule)
			}
		})
	}
	if n := f.fake.RegisterCallCount() + f.fake.SaveEnrollsCallCount() + f.fake.ListUsersCallCount(); n != 0 {
		t.Errorf("a handler ran %d times", n)
	}
}

func TestUnknownFieldsArePassedOver(t *testing.T) {
	f := newFixture(t)
	if _, err := f.raw(t, "UserService.ReadSelf", f.token(t, auth.RoleUser), `{"countTokens":true,"newerField":{"a":[1]}}`); err != nil {
		t.Fatal(err)
	}
	if _, in, _ := f.fake.ReadSelfArgsForCall(0); !in.CountTokens {
		t.Error("the field beside the unknown one was lost")
	}
}

func TestAnswerHasEveryFieldInItsHTTPName(t *testing.T) {
	f := newFixture(t)
	f.fake.ReadSelfStub = func(_ context.Context, _ *userpb.ReadSelfRequest, out *userpb.ReadSelfResponse) error {
		out.User = &userpb.User{Id: "usr_1", CreatedAt: "2026-01-01T00:00:00Z"}
		return nil
	}
	body, err := f.raw(t, "UserService.ReadSelf", f.token(t, auth.RoleUser), "{}")
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"contacts": []any{}, "organizations": []any{}, "roles": []any{}, "tokenCount": 0.0,
		"user": map[string]any{"id": "usr_1", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "", "name": "", "slug": "", "labels": map[string]any{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsArriveWhole(t *testing.T) {
	f := newFixture(t)
	f.fake.LoginReturns(errs.New(errs.TooMany, "SLOW_DOWN", "too many tries").After(90 * time.Second).With(errs.Detail{Field: "slug", Rule: "rate", Message: "wait"}))
	_, err := f.user.Login(t.Context(), &userpb.LoginRequest{Slug: "joe"})
	e := errs.From(err)
	if e.Kind != errs.TooMany || e.Code != "SLOW_DOWN" || e.Message != "too many tries" || e.RetryAfter != 90*time.Second || len(e.Details) != 1 {
		t.Errorf("got %+v", e)
	}
}

func TestInternalErrorsTellNothing(t *testing.T) {
	f := newFixture(t)
	rows := map[string]func(){
		"error": func() {
			f.fake.LoginReturns(errors.New("pq: password authentication failed for user root at 10.0.0.1"))
		},
		"panic": func() {
			f.fake.LoginStub = func(context.Context, *userpb.LoginRequest, *userpb.LoginResponse) error { panic("secret at 10.0.0.1") }
		},
	}
	for name, set := range rows {
		t.Run(name, func(t *testing.T) {
			set()
			_, err := f.raw(t, "UserService.Login", "", `{"slug":"joe"}`)
			e := errs.From(err)
			if e.Kind != errs.Internal || strings.Contains(err.Error(), "10.0.0.1") || strings.Contains(e.Message, "10.0.0.1") {
				t.Errorf("the caller sees %v", err)
			}
		})
	}
	if _, err := f.raw(t, "UserService.GetPublicKey", "", "{}"); err != nil {
		t.Errorf("the server does not live any more: %v", err)
	}
}

func TestMethodWithoutAccessRuleIsRefused(t *testing.T) {
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("open.proto"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("S"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: new("Open"), InputType: new(".M"), OutputType: new(".M")},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rpcserver.New(rpcserver.Config{Name: "open-svc", Files: []protoreflect.FileDescriptor{file}})
	if err == nil || !strings.Contains(err.Error(), "S.Open") {
		t.Errorf("got %v, want an error that names S.Open", err)
	}
}
