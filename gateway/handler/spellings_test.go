package handler_test

import (
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/gateway/handler"
	"micromesh/gateway/http1"
	"micromesh/gateway/routes"
	"micromesh/gateway/transcode"
	"micromesh/internal/paths/pathstest"
	"micromesh/pkg/auth"
)

// gatewayBy serves a routes.yaml.
func gatewayBy(t testing.TB, k *keys, content string, more func(*handler.Config)) (address string) {
	t.Helper()
	table, err := routes.Parse("routes.yaml", []byte(content), func(string) (string, bool) { return "", false })
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
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	cfg := handler.Config{
		Bindings: &current, RPC: rpc{}, Verifier: auth.NewVerifier(k), Forward: upstreams, Routes: set, Logger: log, Metrics: prometheus.NewRegistry(),
	}
	if more != nil {
		more(&cfg)
	}
	return strings.TrimPrefix(serve(t, http1.Config{Logger: log, Handler: handler.New(cfg)}), "http://")
}

// spelled are the plain paths that TestNoSpellingOpensAGuardedResource spells.
var spelled = []string{"/admin/users", "/users/5/secret", "/files/private/plan", "/files/private/readme", "/widgets/7", "/widgets/open", "/admin/users/", "/welcome/page"}

// TestNoSpellingOpensAGuardedResource sends 2,000 spellings of paths to real servers, by themselves and through a gateway. What a server
// answers with a guarded resource must not come through without a token; what comes through has come as it was sent.
func TestNoSpellingOpensAGuardedResource(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{public: &key.PublicKey}
	joe := token(t, key, time.Hour)
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := start(t)
			direct := &wire{t: t, address: address}
			mesh := &wire{t: t, address: gatewayBy(t, k, serverRoutes(address), nil)}
			defer direct.close()
			defer mesh.close()
			for _, path := range []string{"/admin/users", "/users/5/secret", "/files/private/plan", "/widgets/7"} {
				if status, _ := mesh.get(path, ""); status != 401 {
					t.Fatalf("%s without a token: %d", path, status)
				}
				if status, body := mesh.get(path, joe); status != 200 || body != "guarded "+path {
					t.Fatalf("%s with a token: %d %s", path, status, body)
				}
			}
			if status, body := mesh.get("/files/private/readme", ""); status != 200 || body != "guarded /files/private/readme" {
				t.Fatalf("a public path: %d %s", status, body)
			}
			g := pathstest.New(4, spelled...)
			reached, through := 0, 0
			for range 2000 {
				path, plain := g.Next()
				_, alone := direct.get(path, "")
				status, body := mesh.get(path, "")
				if strings.HasPrefix(alone, "guarded ") {
					reached++
				}
				switch {
				case strings.HasPrefix(body, "guarded ") && path != "/files/private/readme":
					t.Errorf("%s, a spelling of %s, comes through: %d %s", path, plain, status, body)
				case status == 200:
					if through++; body != alone || !strings.HasSuffix(body, " "+path) {
						t.Errorf("%s comes through as another request: %s, and by itself %s", path, body, alone)
					}
				}
			}
			if reached < 20 || through < 100 {
				t.Errorf("only %d spellings reach a guarded resource of the server itself, and %d come through", reached, through)
			}
			t.Logf("%d spellings reach a guarded resource of the server itself; %d come through, to open ones", reached, through)
		})
	}
}
