package handler_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/metadata"

	"micromesh/gateway/handler"
	"micromesh/gateway/http1"
	"micromesh/gateway/routes"
	"micromesh/gateway/transcode"
	"micromesh/pkg/auth"
)

// keys are a mesh's public keys, and count how often a signature is checked.
type keys struct {
	public *rsa.PublicKey
	asked  atomic.Int64
}

func (*keys) Ready() bool                                   { return true }
func (*keys) Revoked(*auth.Claims) (void bool, l []string)  { return false, nil }
func (k *keys) Key(string) (key *rsa.PublicKey, known bool) { k.asked.Add(1); return k.public, true }

// rpc answers every call, or none where it has an error.
type rpc struct{ err error }

func (r rpc) Raw(context.Context, string, string, string, []byte, metadata.MD) ([]byte, metadata.MD, error) {
	return []byte(`{}`), nil, r.err
}

func (r rpc) RawGuest(ctx context.Context, service, endpoint string, body []byte, md metadata.MD) ([]byte, metadata.MD, error) {
	return r.Raw(ctx, service, endpoint, "json", body, md)
}

// routedGateway serves configured routes: two to an instance, one of which needs a token, and one to a method.
func routedGateway(t *testing.T, k *keys) (url string) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("X-User-Slug")) }))
	t.Cleanup(web.Close)
	table, err := routes.Parse("routes.yaml", []byte(`version: 1
routes:
  - {path: /open, method: GET, proxy_upstream: "`+web.URL+`"}
  - {path: /closed, method: GET, auth_required: true, proxy_upstream: "`+web.URL+`"}
  - {path: /call, method: GET, proxy_upstream: users/Users.Read}
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	set := handler.NewRoutes()
	if err := set.Replace(table); err != nil {
		t.Fatal(err)
	}
	bindings, err := transcode.New()
	if err != nil {
		t.Fatal(err)
	}
	var current atomic.Pointer[transcode.Bindings]
	current.Store(bindings)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	g := handler.New(handler.Config{
		Bindings: &current, RPC: rpc{}, Verifier: auth.NewVerifier(k), Forward: upstreams, Routes: set, Logger: log, Metrics: prometheus.NewRegistry(),
	})
	return serve(t, http1.Config{Logger: log, Handler: g})
}

func serve(t testing.TB, cfg http1.Config) (url string) {
	t.Helper()
	srv, err := http1.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errors.Join(srv.Shutdown(ctx), <-ended); !errors.Is(err, http1.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

// token is one of joe, which ends after a time.
func token(t *testing.T, key *rsa.PrivateKey, life time.Duration) string {
	t.Helper()
	now := time.Now()
	raw := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "u1", Slug: "joe", Roles: []string{"user-svc:user"}, AppID: "a", SessionID: "s",
		RegisteredClaims: jwt.RegisteredClaims{
			ID: "t1", Subject: "u1", Issuer: auth.Issuer, Audience: jwt.ClaimStrings{auth.Audience}, IssuedAt: jwt.NewNumericDate(now.Add(-time.Hour)), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
	})
	raw.Header["kid"] = "k1"
	s, err := raw.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A token that is not good costs a public route nothing that it need not: no answer, and no look at its signature more than the one by which
// an instance is told who calls.
func TestBadTokensCostPublicRoutesLittle(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{public: &key.PublicKey}
	url := routedGateway(t, k)
	good, expired := token(t, key, time.Hour), token(t, key, -time.Minute)
	forged := good[:len(good)-8] + strings.Repeat("A", 8)
	for _, row := range []struct {
		name, path, token string
		status            int
		body              string
		checks            int64 // of signatures, at most
	}{
		{"nobody", "/open", "", 200, "", 0},
		{"expired", "/open", expired, 200, "", 1},
		{"forged", "/open", forged, 200, "", 1},
		{"joe", "/open", good, 200, "joe", 2},
		{"nobody, to a method", "/call", "", 200, "{}", 0},
		{"expired, to a method", "/call", expired, 200, "{}", 0},
		{"forged, to a method", "/call", forged, 200, "{}", 0},
		{"expired, where a token is needed", "/closed", expired, 401, "", 2},
		{"joe, where a token is needed", "/closed", good, 200, "joe", 2},
	} {
		before := k.asked.Load()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.token != "" {
			req.Header.Set("Authorization", "Bearer "+row.token)
		}
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(rsp.Body)
		_ = rsp.Body.Close()
		if err != nil || rsp.StatusCode != row.status || row.status == 200 && string(body) != row.body {
			t.Errorf("%s: %d %s %v, want %d %q", row.name, rsp.StatusCode, body, err, row.status, row.body)
		}
		if n := k.asked.Load() - before; n > row.checks {
			t.Errorf("%s: keys were asked for %d times, want %d at most", row.name, n, row.checks)
		}
	}
}
