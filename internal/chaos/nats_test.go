package chaos_test

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest/upstream"
)

// registerSome makes accounts, one after the other, and gives the slugs of those that were acknowledged.
func (m *mesh) registerSome(t *testing.T, prefix string, n int) (acknowledged []string) {
	t.Helper()
	for i := range n {
		slug := fmt.Sprintf("%s-%d", prefix, i)
		if s := status(t, "POST", m.URL+"/user-svc/register", "", account(slug)); s == http.StatusOK {
			acknowledged = append(acknowledged, slug)
		} else {
			t.Logf("%s: %d", slug, s)
		}
	}
	return acknowledged
}

// once expects exactly one event of each registration, within a time.
func (m *mesh) once(t *testing.T, within time.Duration, slugs []string) time.Duration {
	t.Helper()
	counts, took := m.registered(t, patience, slugs)
	if took > within {
		t.Errorf("the last event came after %v, want %v", took, within)
	}
	for _, slug := range slugs {
		if counts[slug] > 1 {
			t.Errorf("%s: %d events tell of its registration", slug, counts[slug])
		}
	}
	return took
}

// reachable registers another account with an instance, and waits until the gateway leads there: for which all services must
// hear of each other.
func (m *mesh) reachable(t *testing.T, slug string, within time.Duration) time.Duration {
	t.Helper()
	token := m.Register(t, slug)
	m.Do(t, "PUT", "/registry-svc/instance", token, obj{"url": upstream.Start(t).URL}).Must(t, http.StatusCreated)
	return eventually(t, slug+" is reachable", within, func() bool { return status(t, "GET", m.URL+"/"+slug+"/", "", nil) == http.StatusOK })
}

// outage stops NATS for a while in which accounts are registered, and starts it again.
func outage(t *testing.T, row string, lasts time.Duration) {
	m := start(t, cluster.Config{})
	l := begin(t, 50, m.URL+"/shop-svc/")
	m.cluster.NATS.Kill()
	began := time.Now()
	slugs := m.registerSome(t, "meanwhile", 20)
	if len(slugs) != 20 {
		t.Errorf("%d of 20 accounts were registered while NATS was away", len(slugs))
	}
	rest := time.NewTimer(lasts - time.Since(began))
	defer rest.Stop()
	<-rest.C
	m.cluster.NATS.Start()
	drained := m.once(t, 5*time.Second+slack, slugs)
	ready := time.Now()
	m.cluster.AwaitReady()
	figure(t, row, "away for %v: the outbox of %d events was drained after %v; all ready %v later; a new slug reachable after %v", lasts, len(slugs),
		drained.Round(time.Millisecond), time.Since(ready).Round(time.Millisecond), m.reachable(t, "later-svc", patience).Round(time.Millisecond))
	l.nothingLost(t, row)
}

func TestNATSStopsAndRestarts(t *testing.T) { outage(t, "NATS stops, restarts", 10*time.Second) }

// TestNATSIsPartitioned stops the NATS server as dropped packets do: its connections stay, and nothing comes.
func TestNATSIsPartitioned(t *testing.T) {
	const row = "NATS partitioned"
	m := start(t, cluster.Config{})
	l := begin(t, 50, m.URL+"/shop-svc/")
	m.cluster.NATS.Signal(syscall.SIGSTOP)
	began := time.Now()
	for _, name := range []string{"user", "registry", "proxy"} {
		p := m.cluster.Services[name][0]
		eventually(t, name+" notices", 6*time.Second+slack-time.Since(began), func() bool { return p.Ready() != nil })
	}
	noticed := time.Since(began)
	slugs := m.registerSome(t, "meanwhile", 5)
	m.cluster.NATS.Signal(syscall.SIGCONT)
	ended := time.Now()
	m.cluster.AwaitReady()
	back := time.Since(ended)
	m.once(t, patience, slugs)
	figure(t, row, "noticed by all services after %v; all ready %v after its end", noticed.Round(time.Millisecond), back.Round(time.Millisecond))
	if len(slugs) != 5 {
		t.Errorf("%d of 5 accounts were registered meanwhile", len(slugs))
	}
	l.nothingLost(t, row)
}

// rebuild is within which the services put back what NATS has lost. That is at once, rather than with their next comparison,
// which they make every 30 s.
const rebuild = 10 * time.Second

// TestNATSLosesWhatItHad starts NATS with nothing in it. A gateway that has no snapshot shows whether all of it is back.
func TestNATSLosesWhatItHad(t *testing.T) {
	const row = "NATS loses what it had"
	m := start(t, cluster.Config{Replicas: map[string]int{"gateway": 2}})
	l := begin(t, 50, m.URL+"/shop-svc/")
	m.cluster.NATS.Stop()
	m.cluster.WipeNATS()
	slugs := m.registerSome(t, "meanwhile", 5)
	m.cluster.NATS.Start()
	began := time.Now()
	m.cluster.Configure(map[string]map[string]string{"gateway": {"MICRO_GATEWAY_DATA": ""}})
	m.cluster.Services["gateway"][1].Restart()
	fresh := m.cluster.Gateway(1)
	eventually(t, "a fresh gateway leads to the shop", rebuild, func() bool { return status(t, "GET", fresh+"/shop-svc/", "", nil) == http.StatusOK })
	eventually(t, "a fresh gateway knows the token", rebuild, func() bool { return status(t, "POST", fresh+"/user-svc/self", m.token, nil) == http.StatusOK })
	rebuilt := time.Since(began)
	m.once(t, patience, slugs)
	figure(t, row, "a gateway without a snapshot led to all slugs and knew all keys %v after the start of an empty NATS", rebuilt.Round(time.Millisecond))
	m.reachable(t, "later-svc", patience)
	l.nothingLost(t, row)
}
