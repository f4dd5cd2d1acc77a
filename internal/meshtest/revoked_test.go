package meshtest_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	gateway "micromesh/gateway/app"
	"micromesh/internal/meshtest"
	"micromesh/pkg/host"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/secret"
	user "micromesh/user/app"
)

// accounts is a user service behind a gateway, on a NATS server that other processes reach too.
func accounts(t *testing.T) (m *meshtest.Mesh, natsURL string) {
	t.Helper()
	srv := natstest.Start(t)
	nc, _ := srv.Connect()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: meshtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := meshtest.Config(t.TempDir(), meshtest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.User.DatabaseURL, cfg.User.MailDir = "sqlite:"+filepath.Join(cfg.Dir, "user.db"), cfg.Dir
	u, err := user.New(t.Context(), h, cfg.User)
	if err != nil {
		t.Fatal(err)
	}
	run(t, u)
	g, err := gateway.New(t.Context(), h, cfg.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	run(t, g)
	m = &meshtest.Mesh{URL: "http://" + g.Addr().String()}
	eventually(t, "the accounts are there", func() bool {
		return m.Do(t, "GET", "/user-svc/public-key", "", nil).Status == 200
	})
	return m, srv.URL()
}

// run runs a service until the test ends.
func run(t *testing.T, app interface {
	Run(context.Context) error
	Close() error
}) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) { // between two looks at another process
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestRevocationReachesEveryProcess signs out, and asks two other processes what they think of the token: one that sees
// what is replicated, and one that knows the gateway alone. Each has verified the token before, and may remember that.
func TestRevocationReachesEveryProcess(t *testing.T) {
	t.Parallel()
	m, natsURL := accounts(t)
	verifiers := map[string]string{}
	verifiers["verifier on NATS"], _ = process(t, "verifier on NATS", "MESHTEST_NATS="+natsURL)
	verifiers["verifier by SDK"], _ = process(t, "verifier by SDK", "MESHTEST_SERVER="+m.URL)
	ask := func(url, token string) int { return (&meshtest.Mesh{URL: url}).Do(t, "GET", "/", token, nil).Status }

	first, second := m.Register(t, "joe"), m.Login(t, "joe", "password-of-joe")
	for name, url := range verifiers {
		for token, want := range map[string]int{first: 200, second: 200, first + "x": 401, "": 401} {
			if got := ask(url, token); got != want {
				t.Errorf("%s: status %d of %.20q…, want %d", name, got, token, want)
			}
		}
	}
	m.Do(t, "DELETE", "/user-svc/tokens", first, nil).Must(t, http.StatusOK)
	began := time.Now()
	for name, url := range verifiers {
		eventually(t, name+" refuses the token", func() bool { return ask(url, first) == http.StatusUnauthorized })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s refuses the token after %v", name, took)
		}
		if got := ask(url, second); got != http.StatusOK {
			t.Errorf("%s: status %d of the token of another session", name, got)
		}
	}
}
