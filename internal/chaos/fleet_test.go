//go:build chaos && !race

package chaos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

var beating = flag.Duration("beating", 2*time.Minute, "for how long the fleet beats")

// TestTenThousandInstances registers them all at once, and has each beat every 3 s.
func TestTenThousandInstances(t *testing.T) {
	const row = "10,000 instances"
	const slugs, each, every = 10, 1000, 3 * time.Second // a slug has at most so many
	m := start(t, cluster.Config{})
	web := httptest.NewServer(answering("web", 0))
	t.Cleanup(web.Close)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var tokens [slugs]string
	for s := range tokens {
		tokens[s] = m.Register(t, fmt.Sprintf("fleet-%d", s))
	}
	var failed atomic.Int64
	var outcomes sync.Map // of those that failed: *atomic.Int64 by what came instead
	beat := func(ctx context.Context, n int) time.Duration {
		began := time.Now()
		in := obj{"url": fmt.Sprintf("%s/i%d", web.URL, n)}
		if a, err := askBy(ctx, client, "PUT", m.URL+"/registry-svc/instance", tokens[n/each], in); ctx.Err() == nil && (err != nil || a.Status != http.StatusCreated) {
			failed.Add(1)
			n, _ := outcomes.LoadOrStore(fmt.Sprint(a.Status, ": ", reason(err)), new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		return time.Since(began)
	}
	began := time.Now()
	var wg sync.WaitGroup
	for n := range slugs * each {
		wg.Go(func() { beat(t.Context(), n) })
	}
	wg.Wait()
	registered := time.Since(began)
	outcomes.Range(func(what, n any) bool {
		t.Logf("registering: %d times %v", n.(*atomic.Int64).Load(), what)
		return true
	})
	if registered > 20*time.Second || failed.Load() > 0 {
		t.Errorf("registered after %v, %d failed", registered, failed.Load())
	}
	ctx, stop := context.WithTimeout(t.Context(), *beating)
	defer stop()
	var mu sync.Mutex
	var took []time.Duration
	for n := range slugs * each {
		wg.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					d := beat(ctx, n)
					mu.Lock()
					took = append(took, d)
					mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
	left := 0
	admin := m.Admin(t)
	for s := range slugs {
		list, _ := m.Do(t, "GET", fmt.Sprintf("/registry-svc/instances?slug=fleet-%d", s), admin, nil).Must(t, http.StatusOK).Field("instances").([]any)
		left += len(list)
	}
	slices.Sort(took)
	figure(t, row, "registered after %v; then %d heartbeats in %v, half of them within %v, 99 %% within %v; %d failed; %d of %d are there",
		registered.Round(10*time.Millisecond), len(took), *beating, took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), failed.Load(), left, slugs*each)
	if left != slugs*each {
		t.Errorf("%d of %d are there", left, slugs*each)
	}
}

// reason is the innermost error, without what tells one connection from another.
func reason(err error) error {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}
