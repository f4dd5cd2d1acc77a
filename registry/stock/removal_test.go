package stock_test

import (
	"testing"
	"time"

	"go-micro.dev/v5/registry"

	"micromesh/registry/stock"
)

// removals returns the removals that a program is told of by go-micro's watch, as they come.
func removals(t *testing.T, r registry.Registry) <-chan *registry.Service {
	t.Helper()
	w, err := r.Watch()
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *registry.Service, 100)
	go func() {
		for {
			res, err := w.Next()
			if err != nil {
				return
			}
			if res.Action == "delete" {
				out <- res.Service
			}
		}
	}()
	t.Cleanup(w.Stop)
	return out
}

func await(t *testing.T, removed <-chan *registry.Service, name, version, id string) {
	t.Helper()
	select {
	case s := <-removed:
		if s.Name != name || s.Version != version || len(s.Nodes) != 1 || s.Nodes[0].Id != id {
			t.Errorf("removed is %+v, want %s %s %s", s, name, version, id)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("nobody was told that %s has gone", id)
	}
}

// go-micro's cache forgets a node of the same version and id alone.
func TestOthersAreToldOfWhoWasKilled(t *testing.T) {
	b := start(t)
	other, _ := b.registry(t)
	r, kill := b.registry(t)
	removed := removals(t, other)
	register(t, r, service("users", "users-1", "127.0.0.1:9001"))
	eventually(t, "users came in", func() bool { return b.node("users", "users-1") != nil })
	kill()
	await(t, removed, "users", "1", "users-1")
}

func TestOthersAreToldOfGatewaysThatHaveGone(t *testing.T) {
	b := start(t)
	b.offer(stock.Offer("user-svc", "2", map[string]string{"g1": "127.0.0.1:9001", "g2": "127.0.0.1:9002"}))
	other, _ := b.registry(t)
	removed := removals(t, other)
	eventually(t, "both are offered", func() bool {
		s, err := other.GetService("user-svc")
		return err == nil && len(s) == 1 && len(s[0].Nodes) == 2
	})
	rounds := b.asked.Load()
	eventually(t, "the bridge has asked since", func() bool { return b.asked.Load() > rounds+2 })
	b.offer(stock.Offer("user-svc", "2", map[string]string{"g2": "127.0.0.1:9002"}))
	await(t, removed, "user-svc", "2", "user-svc-g1")
}
