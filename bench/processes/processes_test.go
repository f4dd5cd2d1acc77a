// Package processes measures the mesh as separate processes, on Postgres and NATS with certificates and logins:
//
//	go test -run - -bench . -benchtime 3s ./bench/processes
//
// CPU is that of all four services' processes together, for one operation; Postgres and NATS are beside it.
package processes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/internal/cluster"
)

const callers = 64

func TestMain(m *testing.M) { cluster.Main(m) }

// mesh is a cluster that is measured.
type mesh struct {
	*cluster.Cluster
	b      *testing.B
	client *http.Client
	token  string // the admin's
}

func start(b *testing.B, cfg cluster.Config) *mesh {
	b.Helper()
	cfg.Env = map[string]string{"MICRO_LOG": "warn", "MICRO_LEASE": "10s"}
	cfg.Of = map[string]map[string]string{"user": {"MICRO_ADMIN_PASSWORD": "changeme", "MICRO_TOKEN_EXPIRATION": "1h"}}
	began := time.Now()
	m := &mesh{Cluster: cluster.Start(b, cfg), b: b, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * callers}}}
	b.Logf("started, with certificates, logins and empty databases, in %v", time.Since(began).Round(time.Millisecond))
	var in struct{ Token struct{ Token string } }
	m.must(http.StatusOK, "POST", "/user-svc/login", map[string]any{"slug": "admin", "password": "changeme"}, &in)
	m.token = in.Token.Token
	return m
}

func (m *mesh) must(want int, method, path string, in, out any) {
	m.b.Helper()
	if err := m.call(m.b.Context(), 0, want, method, path, in, out); err != nil {
		m.b.Fatal(err)
	}
}

// call calls a gateway as the admin.
func (m *mesh) call(ctx context.Context, gateway, want int, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, m.Gateway(gateway)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if m.token != "" {
		req.Header.Set("Authorization", "Bearer "+m.token)
	}
	rsp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		return err
	}
	if rsp.StatusCode != want {
		return fmt.Errorf("%s %s: %s %s", method, path, rsp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// cpu is what the processes of each service have used, and of NATS.
func (m *mesh) cpu() map[string]time.Duration {
	m.b.Helper()
	used := map[string]time.Duration{}
	add := func(name string, p *cluster.Process) {
		d, err := child.CPU(p.PID())
		if err != nil {
			m.b.Fatal(err)
		}
		used[name] += d
	}
	for name, all := range m.Services {
		for _, p := range all {
			add(name, p)
		}
	}
	add("nats", m.NATS)
	return used
}

// report reports what was used since, for each of n operations.
func (m *mesh) report(before map[string]time.Duration, n int) {
	m.b.Helper()
	var sum time.Duration
	for name, now := range m.cpu() {
		used := now - before[name]
		if name != "nats" {
			sum += used
		}
		m.b.ReportMetric(float64(used.Microseconds())/float64(n), name+"-µs")
	}
	m.b.ReportMetric(float64(sum.Microseconds())/float64(n), "cpu-µs/op")
}

// measure lets callers do b.N operations, and reports their CPU time.
func (m *mesh) measure(do func(n int) error) {
	m.b.Helper()
	for n := range callers { // connections, pools and code get warm
		if err := do(-n - 1); err != nil {
			m.b.Fatal(err)
		}
	}
	var next atomic.Int64
	var g sync.WaitGroup
	var failed atomic.Pointer[error]
	before := m.cpu()
	m.b.ResetTimer()
	for range callers {
		g.Go(func() {
			for n := next.Add(1); n <= int64(m.b.N); n = next.Add(1) {
				if err := do(int(n)); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	g.Wait()
	m.b.StopTimer()
	if err := failed.Load(); err != nil {
		m.b.Fatal(*err)
	}
	m.report(before, m.b.N)
}

// BenchmarkSelf reads the caller's own account.
func BenchmarkSelf(b *testing.B) {
	m := start(b, cluster.Config{})
	m.measure(func(int) error {
		return m.call(b.Context(), 0, http.StatusOK, "POST", "/user-svc/self", map[string]any{}, nil)
	})
}

// BenchmarkRegister registers instances, each at a URL of its own.
func BenchmarkRegister(b *testing.B) {
	m := start(b, cluster.Config{})
	port := m.listen()
	m.measure(func(n int) error {
		return m.call(b.Context(), 0, http.StatusCreated, "PUT", "/registry-svc/instance", instance(n, port), nil)
	})
}

// instance gives a URL of its own for each n; ten instances are of one slug.
func instance(n, port int) map[string]any {
	n += callers // those of the warm-up are negative
	slug := fmt.Sprintf("bench-%d-svc", n/10)
	return map[string]any{"slug": slug, "url": fmt.Sprintf("http://127.%d.%d.%d:%d", 1+n/62500, n/250%250, n%250+1, port)}
}

// listen accepts the health checks of all instances, whose addresses of 127.0.0.0/8 lead to one port.
func (m *mesh) listen() (port int) {
	m.b.Helper()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		m.b.Fatal(err)
	}
	m.b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// BenchmarkVisible registers an instance and looks until each of two gateways forwards to it: the time of that is the
// operation's.
func BenchmarkVisible(b *testing.B) {
	m := start(b, cluster.Config{Replicas: map[string]int{"gateway": 2, "registry": 2, "proxy": 2, "user": 2}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }()
	b.Cleanup(func() { _ = srv.Close() })
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		slug := fmt.Sprintf("seen-%d-svc", n)
		url := fmt.Sprintf("http://%s/%d", ln.Addr(), n)
		began := time.Now()
		m.must(http.StatusCreated, "PUT", "/registry-svc/instance", map[string]any{"slug": slug, "url": url}, nil)
		for g := range 2 {
			for {
				err := m.call(b.Context(), g, http.StatusOK, "GET", "/"+slug+"/", nil, nil)
				if err == nil {
					break
				}
				if time.Since(began) > 10*time.Second {
					b.Fatalf("gateway %d never forwarded to it: %v", g, err)
				}
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
}

// BenchmarkIdle reports what each process has resident a while after the start.
func BenchmarkIdle(b *testing.B) {
	m := start(b, cluster.Config{})
	time.Sleep(5 * time.Second)
	for b.Loop() {
		for _, name := range cluster.Services {
			n, err := child.Resident(m.Services[name][0].PID())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n)/1e6, name+"-MB")
		}
	}
}
