package chaos_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
	"micromesh/pkg/sqldb/sqldbtest"
)

// moment lets a random time pass, at most so long: it is when a fault strikes.
func moment(most time.Duration) {
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	<-timer.C
}

// TestKillAService kills each service at random points, while known slugs are asked for and accounts are registered.
func TestKillAService(t *testing.T) {
	const row = "kill -9 user, registry or proxy"
	m := start(t, cluster.Config{})
	l := begin(t, 50, m.URL+"/shop-svc/")
	var slowest, longest time.Duration
	for round := range rounds {
		for _, name := range []string{"user", "registry", "proxy"} {
			p := m.cluster.Services[name][0]
			stop := m.registerAll(t, fmt.Sprintf("%s-%d", name, round))
			moment(300 * time.Millisecond)
			p.Kill()
			if name == "user" {
				s, took := m.signIn(t)
				slowest = max(slowest, took)
				if s != http.StatusServiceUnavailable || took > time.Second+slack {
					t.Errorf("sign in while the user service is dead: %d after %v, want 503 within 1 s", s, took)
				}
			}
			began := time.Now()
			p.Start()
			p.AwaitReady()
			longest = max(longest, time.Since(began))
			tried := stop()
			eventually(t, "sign in again", 2*time.Second+slack, func() bool { s, _ := m.signIn(t); return s == http.StatusOK })
			m.whole(t, tried)
		}
	}
	figure(t, row, "%d kills of each: sign-in was refused after at most %v; a process was ready again after at most %v", rounds, slowest.Round(time.Millisecond), longest.Round(time.Millisecond))
	l.nothingLost(t, row)
}

// attempts are registrations by slug, and what came of each: a status, or 0 for no answer.
type attempts map[string]int

func (a attempts) acknowledged() (slugs []string) {
	for slug, s := range a {
		if s == http.StatusOK {
			slugs = append(slugs, slug)
		}
	}
	return slugs
}

// registerAll registers accounts, several at once, until it is told to stop, or one can't be registered.
func (m *mesh) registerAll(t *testing.T, prefix string) (stop func() attempts) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	tried, end := attempts{}, make(chan struct{})
	for i := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				slug := fmt.Sprintf("%s-%d-%d", prefix, i, n)
				s := status(t, "POST", m.URL+"/user-svc/register", "", account(slug))
				mu.Lock()
				tried[slug] = s
				mu.Unlock()
				if s != http.StatusOK {
					return
				}
			}
		})
	}
	return func() attempts { close(end); wg.Wait(); return tried }
}

// whole expects that no account is half there: one that was acknowledged can sign in, and any other can sign in or be
// registered.
func (m *mesh) whole(t *testing.T, tried attempts) {
	t.Helper()
	left := 5 // sign-ins and registrations cost a hash each
	for slug, s := range tried {
		in := account(slug)
		signIn := func() int { return status(t, "POST", m.URL+"/user-svc/login", "", in) }
		switch {
		case s == http.StatusOK && left > 0:
			left--
			if got := signIn(); got != http.StatusOK {
				t.Errorf("%s was registered, and can't sign in: %d", slug, got)
			}
		case s != http.StatusOK:
			if again := status(t, "POST", m.URL+"/user-svc/register", "", in); again != http.StatusOK && signIn() != http.StatusOK {
				t.Errorf("%s was answered with %d, and now can neither be registered (%d) nor sign in", slug, s, again)
			}
		}
	}
}

// TestKillBetweenACommitAndItsEvent kills the user service while it registers accounts. In every other round NATS is away, so
// that the kill surely strikes between commits and their events.
func TestKillBetweenACommitAndItsEvent(t *testing.T) {
	const row = "kill between a commit and its event"
	m := start(t, cluster.Config{})
	user := m.cluster.Services["user"][0]
	var all []string
	var slowest time.Duration
	for round := range rounds {
		if round%2 == 0 {
			m.cluster.NATS.Kill()
		}
		stop := m.registerAll(t, fmt.Sprintf("round-%d", round))
		moment(time.Second)
		user.Kill()
		acknowledged := stop().acknowledged()
		if round%2 == 0 {
			m.cluster.NATS.Start()
		}
		user.Start()
		user.AwaitReady()
		all = append(all, acknowledged...)
		slowest = max(slowest, m.once(t, 2*time.Second+slack, all))
	}
	if len(all) == 0 {
		t.Fatal("no account was registered")
	}
	m.once(t, patience, append(all, m.registerSome(t, "last", 1)...)) // after which nothing of the kills is to come
	figure(t, row, "%d kills, %d acknowledged accounts: each event there once, at most %v after the restart", rounds, len(all), slowest.Round(time.Millisecond))
}

// TestKillInAMigration kills the user service at random points of its first start on an empty database, which then must work.
func TestKillInAMigration(t *testing.T) {
	const row, kills = "kill in the middle of a migration", 10
	m := start(t, cluster.Config{})
	user := m.cluster.Services["user"][0]
	user.Stop()
	empty := func() {
		raw, ok := sqldbtest.PostgresURL(t)
		if !ok {
			missing(t, "there is no Postgres")
		}
		m.cluster.Configure(map[string]map[string]string{"user": {"MICRO_DATABASE_URL": raw}})
	}
	begin := func() time.Duration {
		began := time.Now()
		user.Start()
		user.AwaitReady()
		return time.Since(began)
	}
	empty()
	first := begin()
	user.Kill()
	var slowest time.Duration
	for i := range kills {
		empty()
		user.Start()
		moment(first)
		user.Kill()
		slowest = max(slowest, begin())
		eventually(t, "the admin signs in", patience, func() bool {
			in := obj{"appHost": "unnamed", "slug": meshtest.AdminSlug, "password": meshtest.AdminPassword}
			return status(t, "POST", m.URL+"/user-svc/login", "", in) == http.StatusOK
		})
		m.Register(t, fmt.Sprintf("joe-%d", i))
		user.Kill()
	}
	figure(t, row, "%d kills at random points of a first start, which takes %v: the next start took at most %v, and all worked",
		kills, first.Round(time.Millisecond), slowest.Round(time.Millisecond))
}

// TestKillTheGateway kills the gateway, and starts it again while everything else is up, and while everything else is down.
func TestKillTheGateway(t *testing.T) {
	const row = "kill -9 the gateway"
	m := start(t, cluster.Config{})
	self := m.Do(t, "POST", "/user-svc/self", m.token, nil).Must(t, http.StatusOK)
	m.snapshotted(t)
	gateway := m.cluster.Services["gateway"][0]
	again := func() time.Duration {
		gateway.Kill()
		gateway.Start()
		return eventually(t, "the shop is reachable", time.Second+slack, func() bool { return m.shopKnows(t, self.Text("user", "id")) })
	}
	up := again()
	for _, name := range []string{"proxy", "registry", "user"} {
		m.cluster.Services[name][0].Kill()
	}
	m.cluster.NATS.Kill()
	down := again()
	figure(t, row, "it led to the shop again, and knew its callers, after %v; with everything else down after %v", up.Round(time.Millisecond), down.Round(time.Millisecond))
	if s, took := m.signIn(t); s != http.StatusServiceUnavailable || took > time.Second+slack {
		t.Errorf("sign in with everything else down: %d after %v, want 503 within 1 s", s, took)
	}
	m.cluster.NATS.Start()
	m.cluster.StartAll()
	eventually(t, "sign in again", patience, func() bool { s, _ := m.signIn(t); return s == http.StatusOK })
	m.reachable(t, "later-svc", patience)
}

// shopKnows tells whether the shop is reachable, and learns the id of the account that calls.
func (m *mesh) shopKnows(t *testing.T, id string) bool {
	t.Helper()
	a, err := ask(t.Context(), "GET", m.URL+"/shop-svc/", m.token, nil)
	if err != nil || a.Status != http.StatusOK {
		return false
	}
	ids, _ := a.Field("Header", "X-User-Id").([]any)
	return slices.Equal(ids, []any{id})
}

// snapshotted waits until the gateway has saved the way to the shop.
func (m *mesh) snapshotted(t *testing.T) {
	t.Helper()
	file := m.cluster.Services["gateway"][0].Data() + "/snapshot.json"
	eventually(t, "the gateway has saved the shop", patience, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(b, []byte(`"shop-svc"`))
	})
}

// TestUserServiceAwayWhenTheGatewayStarts expects the last known keys, or else 503, and never that nobody is checked.
func TestUserServiceAwayWhenTheGatewayStarts(t *testing.T) {
	const row = "the user service away when the gateway starts"
	m := start(t, cluster.Config{})
	self := m.Do(t, "POST", "/user-svc/self", m.token, nil).Must(t, http.StatusOK)
	m.snapshotted(t)
	gateway := m.cluster.Services["gateway"][0]
	m.cluster.Services["user"][0].Kill()
	gateway.Restart()
	if !m.shopKnows(t, self.Text("user", "id")) {
		t.Error("the last known keys are not used")
	}
	instances := func(token string) int { return status(t, "GET", m.URL+"/registry-svc/instances", token, nil) }
	forged := m.token[:len(m.token)-6] + "AAAAAA"
	for token, want := range map[string]int{m.token: http.StatusOK, forged: http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if s := instances(token); s != want {
			t.Errorf("with the last known keys: %d, want %d", s, want)
		}
	}
	// Without anything that could be known: neither a snapshot nor a bucket of keys.
	gateway.Stop()
	m.cluster.NATS.Stop()
	m.cluster.WipeNATS()
	m.cluster.NATS.Start()
	m.cluster.Configure(map[string]map[string]string{"gateway": {"MICRO_GATEWAY_DATA": ""}})
	gateway.Start()
	var first int
	eventually(t, "the gateway answers", patience, func() bool { first = instances(m.token); return first != 0 })
	for range 100 {
		for name, token := range map[string]string{"the shop": m.token, "nobody": forged, "a stranger": ""} {
			if s := instances(token); s != http.StatusServiceUnavailable && s != http.StatusUnauthorized {
				t.Fatalf("token of %s, and no key is known: %d", name, s)
			}
		}
	}
	m.cluster.StartAll()
	eventually(t, "the token is known again", patience, func() bool { return instances(m.token) == http.StatusOK })
	figure(t, row, "with a snapshot its keys; without, %d, and never open", first)
}
