package meshtest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// program is an HTTP program at an address, which may have a key to prove whose it is.
type program struct {
	srv *http.Server
	url string

	mu     sync.Mutex
	key    string
	tokens int // that have reached it
	proofs int // that it has answered
}

// serves listens at an address and answers with a name.
func serves(t *testing.T, address, name string) *program {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{url: "http://" + l.Addr().String()}
	p.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			p.tokens++
		}
		if key, _ := hex.DecodeString(p.key); len(key) > 0 && r.Header.Get("Mesh-Nonce") != "" {
			p.proofs++
			h := hmac.New(sha256.New, key)
			h.Write([]byte("mesh-proof " + r.Header.Get("Mesh-Nonce")))
			w.Header().Set("Mesh-Proof", hex.EncodeToString(h.Sum(nil)))
		}
		_, _ = io.WriteString(w, name)
	})}
	go func() { _ = p.srv.Serve(l) }()
	t.Cleanup(p.kill)
	return p
}

// kill closes the port and all connections.
func (p *program) kill() { _ = p.srv.Close() }

// seen returns the number of tokens that have reached it since the last call.
func (p *program) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.tokens
	p.tokens = 0
	return n
}

// has sets its key.
func (p *program) has(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
}

// joins registers a URL, and returns the status and the proof key that came, with the answer or with a refusal.
func joins(t *testing.T, m *meshtest.Mesh, token, url string, version2 bool) (status int, key string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, m.URL+"/registry-svc/instance", strings.NewReader(`{"url":"`+url+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if version2 {
		req.Header.Set("Mesh-Api-Version", "2")
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	var out struct {
		ProofKey string
		Details  []struct{ Field, Message string }
	}
	if err := json.NewDecoder(rsp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	for _, d := range out.Details {
		if d.Field == "proofKey" {
			out.ProofKey = d.Message
		}
	}
	return rsp.StatusCode, out.ProofKey
}

// stateOf returns the status of an account's only instance; empty if it has none.
func stateOf(t *testing.T, m *meshtest.Mesh, token string) string {
	t.Helper()
	all, _ := m.Do(t, "GET", "/registry-svc/instances", token, nil).Must(t, 200).Field("instances").([]any)
	if len(all) == 0 {
		return ""
	}
	return all[0].(obj)["status"].(string)
}

// beats registers a URL again and again.
func beats(t *testing.T, m *meshtest.Mesh, token, url string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			joins(t, m, token, url, true)
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func quick(c *mesh.Config) { c.Registry.CheckInterval = 200 * time.Millisecond }

// TestAddressThatAnotherProgramTookOver kills a service and has another account's program listen at its address.
func TestAddressThatAnotherProgramTookOver(t *testing.T) {
	m := meshtest.Start(t, quick)
	cats, dogs, caller := m.Register(t, "cats-svc"), m.Register(t, "dogs-svc"), m.Register(t, "caller")
	call := func(slug string) meshtest.Answer { t.Helper(); return m.Do(t, "GET", "/"+slug+"/", caller, nil) }
	a := serves(t, "127.0.0.1:0", "cats")
	address := strings.TrimPrefix(a.url, "http://")
	status, key := joins(t, m, cats, a.url, true)
	if status != 201 || key == "" {
		t.Fatalf("the registration is answered with %d", status)
	}
	a.has(key)
	stop := beats(t, m, cats, a.url)
	defer stop()
	await(t, func() bool { return call("cats-svc").Status == 200 && stateOf(t, m, cats) == "Healthy" })
	await(t, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.proofs > 1 }) // the first has been taken up
	if status, _ := joins(t, m, dogs, a.url, true); status != 409 {
		t.Fatalf("another account's registration of the address is answered with %d", status)
	}
	a.kill()
	b := serves(t, address, "dogs")
	await(t, func() bool { return stateOf(t, m, cats) == "Error" })
	await(t, func() bool { return call("cats-svc").Status != 200 }) // the gateway learns of it within a moment
	b.seen()
	for range 20 {
		if got := call("cats-svc"); got.Status == 200 {
			t.Fatalf("cats-svc answers as %s", got.Body)
		}
	}
	if n := b.seen(); n > 0 {
		t.Errorf("%d tokens for cats-svc have reached dogs-svc", n)
	}
	if status, key = joins(t, m, dogs, b.url, false); status != 409 || key != "" {
		t.Errorf("without a proof it is answered with %d, and a key %q", status, key)
	}
	if status, key = joins(t, m, dogs, b.url, true); status != 409 || key == "" {
		t.Fatalf("the first registration is answered with %d", status)
	}
	b.has(key)
	if status, _ = joins(t, m, dogs, b.url, true); status != 201 {
		t.Fatalf("a proved registration is answered with %d", status)
	}
	await(t, func() bool { got := call("dogs-svc"); return got.Status == 200 && string(got.Body) == "dogs" })
	if got := call("cats-svc"); got.Status == 200 || stateOf(t, m, cats) != "" {
		t.Errorf("cats-svc answers %d: %s", got.Status, got.Body)
	}
}

// TestAddressOfAPlainProgramThatAnotherTookOver kills a program that beats and knows nothing of proofs.
func TestAddressOfAPlainProgramThatAnotherTookOver(t *testing.T) {
	m := meshtest.Start(t, quick, func(c *mesh.Config) { c.Registry.Lease = 6 * time.Second })
	cats, dogs := m.Register(t, "cats-svc"), m.Register(t, "dogs-svc")
	a := serves(t, "127.0.0.1:0", "cats")
	every := time.NewTicker(1100 * time.Millisecond) // heartbeats less than a second apart count as one
	defer every.Stop()
	for range 4 {
		if status, key := joins(t, m, cats, a.url, false); status != 201 || key != "" {
			t.Fatalf("the registration is answered with %d, and a key %q", status, key)
		}
		<-every.C
	}
	a.kill()
	b := serves(t, strings.TrimPrefix(a.url, "http://"), "dogs")
	if status, _ := joins(t, m, dogs, b.url, false); status != 409 {
		t.Errorf("within the lease it is answered with %d", status)
	}
	await(t, func() bool { status, _ := joins(t, m, dogs, b.url, false); return status == 201 })
	if stateOf(t, m, cats) != "" {
		t.Error("the instance that ended is still there")
	}
	await(t, func() bool { return string(m.Do(t, "GET", "/dogs-svc/", dogs, nil).Body) == "dogs" })
}
