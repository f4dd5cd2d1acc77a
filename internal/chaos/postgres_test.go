package chaos_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"micromesh/internal/chaos"
	"micromesh/internal/cluster"
)

// away breaks the databases of all services, and expects that sign-ins and registrations fail within a time while the fault lasts,
// that known slugs notice nothing, and that all is well within 2 s of its end.
func away(t *testing.T, row string, fault chaos.Fault, lasts, within time.Duration) {
	p, of := faulty(t, 2*time.Second, "user", "registry", "proxy")
	m := start(t, cluster.Config{Of: of})
	l := begin(t, 50, m.URL+"/shop-svc/")
	set(t, p, fault)
	var slowest time.Duration
	asked := 0
	pace := time.NewTicker(time.Second / 4)
	defer pace.Stop()
	for began := time.Now(); time.Since(began) < lasts; asked++ {
		slowest = max(slowest, m.refusedInTime(t, within))
		<-pace.C
	}
	set(t, p, chaos.None)
	back := eventually(t, "sign in again", 2*time.Second+slack, func() bool { s, _ := m.signIn(t); return s == http.StatusOK })
	eventually(t, "register again", patience, func() bool {
		return status(t, "POST", m.URL+"/user-svc/register", "", account("after-svc")) == http.StatusOK
	})
	figure(t, row, "%d rounds of 20 writes at once for %v: the slowest error took %v; sign-in back after %v", asked, lasts, slowest.Round(time.Millisecond), back.Round(time.Millisecond))
	l.nothingLost(t, row)
}

// refusedInTime makes writes at once, more than a pool has connections, and expects that they fail with 503 in time.
func (m *mesh) refusedInTime(t *testing.T, within time.Duration) (slowest time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range 20 {
		wg.Go(func() {
			path, in := "/user-svc/login", any(login)
			method, token := "POST", ""
			if i%4 == 0 {
				method, path, token, in = "PUT", "/registry-svc/instance", m.token, obj{"url": fmt.Sprintf("http://127.0.1.%d:81", i%8+1)} // two URLs are wanted by some at once
			}
			began := time.Now()
			s := status(t, method, m.URL+path, token, in)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			slowest = max(slowest, took)
			if s != http.StatusServiceUnavailable || took > within+slack {
				t.Errorf("%s %s: %d after %v, want 503 within %v", method, path, s, took, within)
			}
		})
	}
	wg.Wait()
	return slowest
}

func TestPostgresAway(t *testing.T) {
	away(t, "Postgres away", chaos.Refusal, 20*time.Second, time.Second)
}

func TestPostgresIsABlackHole(t *testing.T) {
	away(t, "Postgres a black hole", chaos.BlackHole, 10*time.Second, 2100*time.Millisecond)
}

// TestPostgresIsSlow delays the answers that the user service gets: its calls end, and no other service notices.
func TestPostgresIsSlow(t *testing.T) {
	const row = "Postgres slow, +2 s an answer"
	p, of := faulty(t, 2*time.Second, "user")
	m := start(t, cluster.Config{Of: of})
	l := begin(t, 50, m.URL+"/shop-svc/")
	set(t, p, chaos.Slow)
	var wg sync.WaitGroup
	took := make([]time.Duration, 40) // more than the pool has connections
	for i := range took {
		wg.Go(func() {
			var s int
			if s, took[i] = m.signIn(t); s != http.StatusServiceUnavailable || took[i] > 3*time.Second+slack {
				t.Errorf("sign in: %d after %v, want 503 within 3 s", s, took[i])
			}
		})
	}
	var slowest time.Duration
	for range 20 {
		began := time.Now()
		m.Do(t, "PUT", "/registry-svc/instance", m.token, obj{"id": "other", "url": "http://127.0.1.1:81"})
		slowest = max(slowest, time.Since(began))
	}
	wg.Wait()
	if slowest > time.Second+slack {
		t.Errorf("registering an instance took %v while another service's database was slow", slowest)
	}
	set(t, p, chaos.None)
	back := eventually(t, "sign in again", 2*time.Second+slack, func() bool { s, _ := m.signIn(t); return s == http.StatusOK })
	figure(t, row, "%d sign-ins at once ended within %v; another service's slowest write took %v; sign-in back after %v", len(took), slices.Max(took).Round(time.Millisecond), slowest.Round(time.Millisecond), back.Round(time.Millisecond))
	l.nothingLost(t, row)
}
