package sdk_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	sdk "micromesh/sdk/go"
)

const patience = 20 * time.Second

func config(t *testing.T, m *meshtest.Mesh, slug string) sdk.Config {
	t.Helper()
	return sdk.Config{Slug: slug, ServerURL: m.URL, Credentials: filepath.Join(t.TempDir(), "credentials.json"), Logger: meshtest.Logger(t)}
}

func open(t *testing.T, cfg sdk.Config) *sdk.Service {
	t.Helper()
	s, err := sdk.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// eventually asks until the status is the one that is wanted.
func eventually(t *testing.T, want int, ask func() meshtest.Answer) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		a := ask()
		if a.Status == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("status stays %d, want %d: %s", a.Status, want, a.Body)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at another process
	}
}

// run runs a service until stop is called, which waits for its end.
func run(t *testing.T, cfg sdk.Config, h func(*sdk.Service) http.Handler) (stop func()) {
	t.Helper()
	s, err := sdk.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h(s)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func hello(*sdk.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = sdk.WriteJSON(w, http.StatusOK, map[string]string{"path": r.URL.Path})
	})
}

func TestServiceIsBehindTheGatewayWhileItRuns(t *testing.T) {
	m := meshtest.Start(t)
	stop := run(t, config(t, m, "hello-svc"), hello)
	eventually(t, 200, func() meshtest.Answer { return m.Do(t, "GET", "/hello-svc/x", "", nil) })
	stop()
	m.Do(t, "GET", "/hello-svc/x", "", nil).Must(t, 503)
}

func TestEveryInstanceLeavesWithItsService(t *testing.T) {
	m := meshtest.Start(t)
	svc, err := sdk.Open(t.Context(), config(t, m, "hello-svc"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := svc.Register(t.Context(), upstream.Start(t).URL); err != nil {
			t.Fatal(err)
		}
	}
	if err := svc.Close(); err != nil {
		t.Fatal(err)
	}
	left, _ := m.Do(t, "GET", "/registry-svc/instances?slug=hello-svc", m.Admin(t), nil).Must(t, 200).Field("instances").([]any)
	if len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
}

func TestAccountIsTheSameAfterARestart(t *testing.T) {
	m := meshtest.Start(t)
	cfg := config(t, m, "hello-svc")
	var ids [2]string
	for i := range ids {
		var self struct{ User struct{ ID, Slug string } }
		if err := open(t, cfg).Call(t.Context(), http.MethodPost, "/user-svc/self", nil, &self); err != nil {
			t.Fatal(err)
		}
		ids[i] = self.User.ID
	}
	if ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("ids are %v", ids)
	}
	if fi, err := os.Stat(cfg.Credentials); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", fi, err)
	}
}

func TestLostCredentialsAreExplained(t *testing.T) {
	m := meshtest.Start(t)
	m.Register(t, "hello-svc")
	_, err := sdk.Open(t.Context(), config(t, m, "hello-svc"))
	if errs.From(err).Code != "SLUG_TAKEN" || !strings.Contains(err.Error(), "credentials.json") {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationTellsAllMistakesAtOnce(t *testing.T) {
	_, err := sdk.Open(t.Context(), sdk.Config{Slug: "No Slug", ServerURL: "nonsense", SelfURL: "ftp://x", Listen: "x", HealthPath: "health", Credentials: "/nowhere/at/all/c.json"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`slug "No Slug"`, `server URL "nonsense"`, `self URL "ftp://x"`, `listen "x"`, `health path "health"`, `credentials "/nowhere`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

// TestServiceComesBackWithTheMesh stops the mesh under a running service, and starts another on its data and address.
func TestServiceComesBackWithTheMesh(t *testing.T) {
	dir := t.TempDir()
	m := meshtest.Start(t, meshtest.InDir(dir))
	run(t, config(t, m, "hello-svc"), hello)
	eventually(t, 200, func() meshtest.Answer { return m.Do(t, "GET", "/hello-svc/x", "", nil) })
	address := m.Addr()
	m.Stop()
	again := meshtest.Start(t, meshtest.InDir(dir), func(c *mesh.Config) { c.Gateway.Listen = address })
	eventually(t, 200, func() meshtest.Answer { return again.Do(t, "GET", "/hello-svc/x", "", nil) })
}

// guarded is a handler that only callers of a role reach.
func guarded(s *sdk.Service) http.Handler {
	return s.RequireRole("hello-svc:clerk", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = sdk.WriteJSON(w, http.StatusOK, map[string]string{"slug": auth.FromContext(r.Context()).Slug})
	}))
}

func TestCallersAreVerified(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	h := guarded(svc)
	ask := func(token string) meshtest.Answer {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return meshtest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
	}
	joe := m.Register(t, "joe")
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	for name, row := range map[string]struct {
		token string
		want  int
		code  string
	}{
		"nobody":          {"", 401, "UNAUTHENTICATED"},
		"nonsense":        {"x.y.z", 401, "INVALID_TOKEN"},
		"without a role":  {joe, 403, "FORBIDDEN"},
		"admin":           {m.Admin(t), 200, ""},
		"broken":          {joe[:len(joe)-8] + "AAAAAAAA", 401, "INVALID_TOKEN"},
		"kid of nobody":   {"eyJhbGciOiJSUzI1NiIsImtpZCI6InVua25vd24ifQ.e30.AAAA", 401, "INVALID_TOKEN"},
		"algorithm: none": {"eyJhbGciOiJub25lIn0.e30.", 401, "INVALID_TOKEN"},
	} {
		if a := ask(row.token); a.Status != row.want || a.Text("code") != row.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.Status, a.Body, row.want, row.code)
		}
	}
	if err := svc.SaveEnrolls(t.Context(), sdk.Enroll{Role: "hello-svc:clerk", UserID: id}); err != nil {
		t.Fatal(err)
	}
	clerk := m.Login(t, "joe", "password-of-joe")
	if a := ask(clerk); a.Status != 200 || a.Text("slug") != "joe" {
		t.Errorf("with the role: %d %s", a.Status, a.Body)
	}
	// A revocation arrives without anybody asking for it.
	m.Do(t, "DELETE", "/user-svc/tokens", clerk, obj{}).Must(t, 200)
	eventually(t, 401, func() meshtest.Answer { return ask(clerk) })
}

type obj = map[string]any

// counting counts requests for a path.
type counting struct {
	path string
	n    atomic.Int32
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == c.path {
		c.n.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// meeting lets the revocations that are polled wait for a request that an unknown key causes, so that both are under way.
type meeting struct {
	armed   atomic.Bool
	polling chan struct{}
	asked   chan struct{}
	once    sync.Once // the keys are fetched now and then anyway
}

func (m *meeting) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.armed.Load() {
		switch r.URL.Path {
		case "/.well-known/revocations.json":
			r = r.Clone(r.Context())
			r.Header.Del("If-None-Match") // so that each answer has a list
			select {
			case m.polling <- struct{}{}:
				<-m.asked
			default: // nobody waits for this one
			}
		case "/.well-known/jwks.json":
			defer m.once.Do(func() { close(m.asked) })
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestUnknownKeyWhileRevocationsAreFetched is for the race detector.
func TestUnknownKeyWhileRevocationsAreFetched(t *testing.T) {
	m := meshtest.Start(t)
	cfg := config(t, m, "hello-svc")
	meet := &meeting{polling: make(chan struct{}), asked: make(chan struct{})}
	cfg.Client = &http.Client{Transport: meet}
	svc := open(t, cfg)
	meet.armed.Store(true)
	<-meet.polling
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.Header.Set("Authorization", "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6InVua25vd24ifQ.e30.AAAA")
	if _, err := svc.Verify(r); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("got %v, want Unauthenticated", err)
	}
}

// TestTokensForOneService has a service be sent tokens whose audience is one slug.
func TestTokensForOneService(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	joe := m.Register(t, "joe")
	m.Register(t, "other-svc")
	for slug, good := range map[string]bool{"hello-svc": true, "other-svc": false} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+m.Do(t, "POST", "/user-svc/token/issue", joe, obj{"slug": slug}).Must(t, 200).Text("token"))
		if c, err := svc.Verify(r); (err == nil && c.Slug == "joe") != good {
			t.Errorf("a token for %s: %v", slug, err)
		}
	}
}

// TestStopWhileTheMeshIsAway ends a service that still waits to be registered: that is no failure.
func TestStopWhileTheMeshIsAway(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	m.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx, http.NotFoundHandler()) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("a stop gave %v", err)
	}
}

func TestFloodOfUnknownKeysFetchesOnce(t *testing.T) {
	m := meshtest.Start(t)
	cfg := config(t, m, "hello-svc")
	jwks := &counting{path: "/.well-known/jwks.json"}
	cfg.Client = &http.Client{Transport: jwks}
	svc := open(t, cfg)
	before := jwks.n.Load()
	for i := range 10_000 {
		kid := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":"unknown-%d"}`, i))
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+kid+".e30.AAAA")
		if _, err := svc.Verify(r); !errs.Is(err, errs.Unauthenticated) {
			t.Fatalf("got %v, want Unauthenticated", err)
		}
	}
	if n := jwks.n.Load() - before; n > 2 { // one in 10 s, of which the flood may see the turn
		t.Errorf("the keys were fetched %d times", n)
	}
}

func TestPermissionsAreTheMeshs(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	joe := m.Register(t, "joe")
	has := func(permission string) bool {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+joe)
		ok, err := svc.HasPermission(r, permission)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if err := svc.SavePermits(t.Context(), sdk.Permit{Permission: "hello-svc:pet:edit", Slugs: []string{"joe"}}); err != nil {
		t.Fatal(err)
	}
	if !has("hello-svc:pet:edit") || has("hello-svc:pet:eat") {
		t.Error("the permissions are not what was granted")
	}
	if err := svc.SavePermits(t.Context(), sdk.Permit{Permission: "other-svc:pet:edit", Slugs: []string{"joe"}}); !errs.Is(err, errs.Forbidden) {
		t.Errorf("a permission of another's: %v, want Forbidden", err)
	}
}

func TestTokenIsRefreshedBeforeItExpires(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.User.TokenExpiration = 30 * time.Second }) // less than the SDK wants to have left
	svc := open(t, config(t, m, "hello-svc"))
	first, err := svc.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := svc.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("a token that is about to expire was given again")
	}
	m.Do(t, "POST", "/user-svc/self", second, nil).Must(t, 200)
}

func TestBodiesAreReadStrictly(t *testing.T) {
	for body, want := range map[string]string{`{"name":"x"}`: "", "": "", `{"name":`: "INVALID_JSON", `{"name":1}`: "INVALID_JSON", `{} {}`: "INVALID_JSON", `{"name":"` + strings.Repeat("x", 100) + `"}`: "TOO_LARGE"} {
		var v struct{ Name string }
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body))
		err := sdk.ReadJSON(httptest.NewRecorder(), r, 64, &v)
		got := ""
		if err != nil {
			got = errs.From(err).Code
		}
		if got != want {
			t.Errorf("%.20q: %q, want %q", body, got, want)
		}
	}
}

func TestUnknownFieldsOfCallsAreNamed(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	err := svc.Call(t.Context(), "DELETE", "/user-svc/tokens", map[string]bool{"all": true}, nil)
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "did you mean allTokens?") {
		t.Errorf("error is %v", err)
	}
}

func TestMeshThatIsAwayIsNotNamedToCallers(t *testing.T) {
	m := meshtest.Start(t)
	svc := open(t, config(t, m, "hello-svc"))
	m.Stop()
	err := svc.Call(t.Context(), "POST", "/user-svc/self", nil, nil)
	w := httptest.NewRecorder()
	sdk.WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), err)
	if address := strings.TrimPrefix(m.URL, "http://"); w.Code != 503 || strings.Contains(w.Body.String(), address) || !strings.Contains(err.Error(), address) {
		t.Errorf("%d %s, for %v", w.Code, w.Body, err)
	}
}

func TestErrorsOfOtherTypesTellNothing(t *testing.T) {
	w := httptest.NewRecorder()
	sdk.WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), os.ErrPermission)
	var body errs.Wire
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 500 || strings.Contains(body.Error, "permission") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestRunProvesItsAddress has another account's program, which knows the proofs too, try for a service's URL, first while the
// service runs, and then when it was killed.
func TestRunProvesItsAddress(t *testing.T) {
	m := meshtest.Start(t)
	answer := func(name string) func(*sdk.Service) http.Handler {
		return func(*sdk.Service) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
		}
	}
	cats := open(t, config(t, m, "cats-svc"))
	srv := httptest.NewServer(cats.Prove(answer("cats")(cats)))
	t.Cleanup(srv.Close)
	if err := cats.Register(t.Context(), srv.URL); err != nil {
		t.Fatal(err)
	}
	dogs := open(t, config(t, m, "dogs-svc"))
	if err := dogs.Register(t.Context(), srv.URL); !errs.Is(err, errs.Conflict) {
		t.Fatalf("the URL of a service that runs is taken: %v", err)
	}
	srv.CloseClientConnections()
	srv.Close() // its heartbeats go on
	cfg := config(t, m, "dogs-svc-2")
	cfg.SelfURL = srv.URL
	run(t, cfg, answer("dogs"))
	eventually(t, 200, func() meshtest.Answer { return m.Do(t, "GET", "/dogs-svc-2/", "", nil) })
	if a := m.Do(t, "GET", "/cats-svc/", "", nil); a.Status == 200 {
		t.Errorf("cats-svc answers as %s", a.Body)
	}
}
