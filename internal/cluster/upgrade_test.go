package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
)

// balancer is what is in front of two gateways. It no longer sends to one that is about to be replaced.
type balancer struct {
	*mesh
	token string
	done  atomic.Int64 // requests

	mu   sync.Mutex
	next int
	out  int    // the gateway that gets no requests; -1 is none
	busy [2]int // requests under way
}

func (b *balancer) pick() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = 1 - b.next
	if b.next == b.out {
		b.next = 1 - b.next
	}
	b.busy[b.next]++
	return b.next
}

func (b *balancer) finished(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy[i]--
}

// spare sends no more requests to a gateway, and waits until those that were sent are answered; -1 spares none.
func (b *balancer) spare(t *testing.T, i int) {
	t.Helper()
	b.mu.Lock()
	b.out = i
	b.mu.Unlock()
	eventually(t, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i >= 0 && b.busy[i] > 0 {
			return fmt.Errorf("%d requests are under way", b.busy[i])
		}
		return nil
	})
}

// request makes a request of one of the kinds, and tells what is wrong with its answer.
func (b *balancer) request(kind int) error {
	i := b.pick()
	defer b.finished(i)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.Gateway(i)+"/shop-svc/x", nil)
	if kind == 1 {
		req, err = http.NewRequestWithContext(context.Background(), http.MethodPost, b.Gateway(i)+"/user-svc/self", strings.NewReader("{}"))
	}
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	b.done.Add(1)
	body, err := io.ReadAll(rsp.Body)
	if err == nil && rsp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", req.Method, req.URL.Path, rsp.Status, body)
	}
	return err
}

// TestRollingUpgrade replaces all processes of a mesh, one by one in the order of docs/operations.md, while it serves
// requests: none fails.
func TestRollingUpgrade(t *testing.T) {
	replicas := map[string]int{}
	for _, name := range cluster.Services {
		replicas[name] = 2
	}
	m := &mesh{cluster.Start(t, cluster.Config{Replicas: replicas, Of: map[string]map[string]string{"user": {"MICRO_ADMIN_PASSWORD": adminPassword}}})}
	t.Cleanup(func() { m.tellEnded(t) })
	web := upstream.Start(t)
	b := &balancer{mesh: m, token: tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("shop-svc", "password-of-shop")))}
	b.spare(t, -1)
	m.must(t, "PUT", "/registry-svc/instance", b.token, obj{"url": web.URL})
	for range 2 { // a gateway each
		eventually(t, func() error { return b.request(0) })
	}

	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := b.request(i % 2); err != nil {
					t.Errorf("while processes are replaced: %v", err)
					return
				}
			}
		})
	}
	for _, name := range cluster.Services {
		for i, p := range m.Services[name] {
			if name == "gateway" {
				b.spare(t, i)
			}
			served := b.done.Load()
			p.Restart()
			eventually(t, func() error {
				if b.done.Load() < served+100 {
					return fmt.Errorf("%d requests after %s", b.done.Load()-served, p.Name)
				}
				return nil
			})
			b.spare(t, -1)
		}
	}
	stop()
	clients.Wait()
}

// tellEnded shows what processes logged that have ended by themselves.
func (m *mesh) tellEnded(t *testing.T) {
	t.Helper()
	for _, name := range cluster.Services {
		for _, p := range m.Services[name] {
			if !p.Running() {
				t.Errorf("%s has ended: %s", p.Name, p.Log())
			}
		}
	}
}
