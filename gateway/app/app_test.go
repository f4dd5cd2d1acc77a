package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/gateway/app"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
	"micromesh/pkg/secret"
)

const patience = 20 * time.Second

// start runs a gateway alone: there is no other service.
func start(t *testing.T, srv *natstest.Server, dir string) (url string, stop func()) {
	t.Helper()
	nc, _ := srv.Connect()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), h, app.Config{
		Listen: "127.0.0.1:0", DataDir: dir, MaxMessage: 4 << 20, MaxBody: 1 << 30, InstanceNetworks: netpolicy.Loopback,
		CallTimeout: 5 * time.Second, HeadersTimeout: 5 * time.Second, DrainTimeout: time.Second, TunnelCheck: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return "http://" + a.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp.StatusCode, string(b)
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at another process's state
	}
}

const testKey = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuwJYaxtMdkZ18NC3YfTI
ekgr5LizoufHvbJXdeiYROZdjd0GYPtMQd5bxMeG1Mi3swyDnOtqCX1JAc3ubQDA
4VjVyMim7iAigNr22axAObzPZqz3RC6l+tzbOJvX9UQToh1DNj1o65tuIYOtsa85
HBjeY1M1vaZ2xyjxAlMxav4FSi6Xipj6JTRcSEYwP6LRxqolG/Up8RQriail5NhE
2YQir9ize51rqPjJc4k/D5sZ2pM5bZ+KqSH3iQzzNBPQEUEQc43e52Kissud2spp
AN4X7tl/dKOTfno6R9zQ5X6RaZfPckMB2EeSyjI7aIGc6NmavmNQ3NxjCtlt+S+k
VQIDAQAB
-----END PUBLIC KEY-----
`

// publish puts into the buckets what the control plane would.
func publish(t *testing.T, js jetstream.JetStream, target string) {
	t.Helper()
	put := func(bucket, key string, v any) {
		b, err := kv.Open(t.Context(), js, bucket, kv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), key, raw); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Fill(t.Context(), js, kv.Revocations, kv.Options{}, func(map[string][]byte) (map[string][]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	put(kv.Keys, "k1", map[string]any{"kid": "k1", "pem": testKey, "current": true})
	put(kv.Routing, routing.SlugKey("shop-svc"), routing.Slug{Slug: "shop-svc", Instances: []routing.Target{{ID: "1", URL: target, Status: routing.Healthy}}})
	put(kv.Routing, routing.HostKey("shop.example.com"), routing.HostRoute{ID: "shop.example.com", Target: target})
}

// TestGatewayServesFromItsSnapshot starts a gateway again after everything that it could learn from is gone.
func TestGatewayServesFromItsSnapshot(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	web := upstream.Start(t)
	dir := t.TempDir()

	url, stop := start(t, srv, dir)
	if status, body := get(t, url+"/readyz"); status != 503 || !strings.Contains(body, "NOT_READY") {
		t.Errorf("before anything is known: %d %s", status, body)
	}
	publish(t, js, web.URL)
	eventually(t, "ready", func() bool { status, _ := get(t, url+"/readyz"); return status == 200 })
	eventually(t, "forwarded", func() bool { status, _ := get(t, url+"/shop-svc/x"); return status == 200 })
	file := filepath.Join(dir, "snapshot.json")
	eventually(t, "saved", func() bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), web.URL) && strings.Contains(string(b), "k1")
	})
	stop()

	srv.Stop()
	srv.Wipe()
	srv.Start()
	url, stop = start(t, srv, dir)
	defer stop()
	if status, body := get(t, url+"/shop-svc/x"); status != 200 {
		t.Errorf("from the snapshot: %d %s", status, body)
	}
	if status, body := get(t, url+"/.well-known/jwks.json"); status != 200 || !strings.Contains(body, "k1") {
		t.Errorf("keys from the snapshot: %d %s", status, body)
	}
	eventually(t, "ready again", func() bool { status, _ := get(t, url+"/readyz"); return status == 200 }) // once discovery is in sync
	if status, body := get(t, url+"/user-svc/public-key"); status != 503 || !strings.Contains(body, `"code"`) {
		t.Errorf("a service that is away: %d %s", status, body)
	}
}

func TestBrokenSnapshotIsLeftOut(t *testing.T) {
	srv := natstest.Start(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "snapshot.json"), []byte(`{"auth":{"keys":{"k1":{"pem":"x"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop := start(t, srv, dir)
	defer stop()
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

func TestConfigTellsAllMistakesAtOnce(t *testing.T) {
	cfg := app.Config{Listen: "nowhere", EdgeListen: "nowhere", MaxMessage: 1, MaxBody: 1, CORS: []string{"evil"}, TrustedProxies: []string{"10.0.0.1"}, InstanceNetworks: []string{"all"}, Reserved: []string{"x"}, DataDir: "/nowhere/at/all", GuestHeaders: []string{"X-User-ID"}, GuestsAdvertise: "here"}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"MICRO_LISTEN is", "MICRO_EDGE_LISTEN is", "must differ", "MICRO_MAX_MESSAGE", "MICRO_MAX_BODY", "MICRO_CALL_TIMEOUT", "MICRO_TUNNEL_CHECK", "MICRO_UPSTREAM_TIMEOUT",
		"MICRO_CORS_ORIGINS", "MICRO_TRUSTED_PROXIES", "MICRO_INSTANCE_NETWORKS holds", "MICRO_RESERVED_ADDRESSES holds", "MICRO_GATEWAY_DATA", "MICRO_GUEST_HEADERS holds X-User-ID", "MICRO_GUESTS_ADVERTISE is \"here\"", "MICRO_GUESTS_LISTEN must be too",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}
