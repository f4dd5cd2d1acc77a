package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

// memory is a Store that keeps instances in a map; what the domain needs of it here and no more.
type memory struct {
	service.Store
	mu         sync.Mutex
	instances  map[string]service.Instance
	events     []service.Event
	heartbeats int
	err        error // of every call, where set
}

func (m *memory) Instances(context.Context) ([]service.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []service.Instance
	for _, in := range m.instances {
		all = append(all, in)
	}
	return all, m.err
}

func (m *memory) Add(_ context.Context, in service.Instance, _ int32, over *service.Displaced, event func(service.Instance) service.Event) (service.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.displace(in, over); err != nil {
		return in, err
	}
	if in.ID == "" {
		in.ID = in.URL.String()
	}
	for id, is := range m.instances {
		if id == in.ID || is.URL == in.URL {
			if is.Slug != in.Slug {
				return in, service.ErrURLTaken
			}
			return in, service.ErrChanged
		}
	}
	in.Generation = 1
	return in, m.change(in, []service.Event{event(in)})
}

func (m *memory) Find(_ context.Context, ids []string, url string) (found []service.Instance, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, in := range m.instances {
		if slices.Contains(ids, id) || in.URL.String() == url {
			found = append(found, in)
		}
	}
	return found, m.err
}

func (m *memory) Pulses(context.Context) (all []service.Pulse, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, in := range m.instances {
		all = append(all, service.Pulse{ID: in.ID, Generation: in.Generation, Status: in.Status, LastHeartbeat: in.LastHeartbeat, Beats: in.Beats})
	}
	return all, m.err
}

// displace deletes what is displaced, unless it has changed.
func (m *memory) displace(by service.Instance, over *service.Displaced) error {
	if over == nil || m.err != nil {
		return m.err
	}
	is := m.instances[over.ID]
	if is.Generation != over.Generation || is.Slug != by.Slug && is.LastHeartbeat.UnixMicro() != over.Heard.UnixMicro() {
		return service.ErrChanged
	}
	delete(m.instances, over.ID)
	return m.tell(over.Events)
}

func (m *memory) tell(events []service.Event) error {
	for _, e := range events {
		if e.What != nil {
			m.events = append(m.events, e)
		}
	}
	return m.err
}

func (m *memory) Replace(_ context.Context, in service.Instance, over *service.Displaced, events []service.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.displace(in, over); err != nil {
		return err
	}
	if m.err == nil && m.instances[in.ID].Generation != in.Generation-1 {
		return service.ErrChanged
	}
	return m.change(in, events)
}

func (m *memory) change(in service.Instance, events []service.Event) error {
	if m.err == nil {
		m.instances[in.ID] = in
		return m.tell(events)
	}
	return m.err
}

func (m *memory) Expire(_ context.Context, in service.Instance, known, _ time.Time, events []service.Event) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.instances[in.ID]
	if m.err != nil || is.Generation != in.Generation || is.LastHeartbeat.UnixMicro() != known.UnixMicro() {
		return false, m.err
	}
	delete(m.instances, in.ID)
	m.events = append(m.events, events...)
	return true, nil
}

func (m *memory) Remove(_ context.Context, id, _ string, _ time.Time, events []service.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		delete(m.instances, id)
		m.events = append(m.events, events...)
	}
	return m.err
}

func (m *memory) SaveStatuses(_ context.Context, all []service.Instance, events []service.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		for _, in := range all {
			if is, ok := m.instances[in.ID]; ok && is.Generation == in.Generation {
				is.Status, is.Details, is.Since, is.Proved, is.Vacant = in.Status, in.Details, in.Since, in.Proved, in.Vacant
				m.instances[in.ID] = is
			}
		}
		return m.tell(events)
	}
	return m.err
}

func (m *memory) SaveHeartbeats(_ context.Context, ids []string, at time.Time, beating []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if in, ok := m.instances[id]; ok && m.err == nil {
			in.LastHeartbeat, in.Beats = at, in.Beats || slices.Contains(beating, id)
			m.instances[id] = in
		}
	}
	m.heartbeats += len(ids)
	return m.err
}

// Forget has nothing to forget.
func (m *memory) Forget(context.Context, time.Time) error { return nil }

// counts gives how much was written.
func (m *memory) counts() (events, heartbeats int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events), m.heartbeats
}

func (m *memory) instance(id string) service.Instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.instances[id]
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// told counts the events of a kind.
func told[E any](m *memory) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if _, ok := e.What.(E); ok {
			n++
		}
	}
	return n
}

// world is what is outside: how instances are, and who was told of changes.
type world struct {
	nodes   []service.RPCNode
	mu      sync.Mutex
	health  map[string]routing.Status // by URL; Healthy where it says nothing
	checks  map[string]int
	atOnce  int
	most    int
	changed map[string]int
	took    time.Duration       // of a check
	proofs  map[string][]string // by URL: the accounts whose keys its address has
	mute    map[string]bool     // by URL: it accepts connections and answers no request
}

// Prove is Check, with proofs by the keys that the address has.
func (w *world) Prove(ctx context.Context, u routing.URL, path string, keys ...[]byte) service.Health {
	found := w.Check(ctx, u, path)
	w.mu.Lock()
	defer w.mu.Unlock()
	found.Answered = found.Status != routing.Unreachable && !w.mute[u.String()]
	for _, key := range keys {
		has := slices.ContainsFunc(w.proofs[u.String()], func(slug string) bool { return bytes.Equal(key, keyOf(slug, u.String())) })
		found.Proofs = append(found.Proofs, has && found.Answered)
	}
	return found
}

func keyOf(slug, url string) []byte { return []byte(slug + " " + url) }

// prove says whose keys an address has.
func (w *world) prove(url string, slugs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proofs[url] = slugs
}

func (w *world) Check(ctx context.Context, u routing.URL, _ string) service.Health {
	w.mu.Lock()
	w.checks[u.String()]++
	w.atOnce++
	w.most = max(w.most, w.atOnce)
	status, ok := w.health[u.String()]
	took := w.took
	w.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
	}
	w.mu.Lock()
	w.atOnce--
	w.mu.Unlock()
	if !ok {
		status = routing.Healthy
	}
	return service.Health{Status: status, Details: "as told", Refused: status == routing.Unreachable}
}

func (w *world) Displaced(slug, id string) { w.Changed(slug, id) }

func (w *world) Changed(_, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[id]++
}

func (w *world) RPCNodes() []service.RPCNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes
}

// alone is the peers of a registry that has none.
type alone struct{}

func (alone) Mine(string) bool { return true }
func (alone) Alone() bool      { return true }
func (alone) Hears() bool      { return true }
func (alone) Tell(...string)   {}

func (w *world) set(url string, s routing.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health[url] = s
}

// slow makes checks take so long.
func (w *world) slow(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = d
}

func (w *world) checksOf(url string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.checks[url]
}

// changes tells how often an instance was published.
func (w *world) changes(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed[id]
}

// busiest tells how many checks there were at once since it was asked last.
func (w *world) busiest() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := w.most
	w.most = 0
	return most
}

var (
	pets   = service.Caller{UserID: "usr", Slug: "pets"}
	errOut = errors.New("the database is away")
)

// fixture is a registry in a synctest bubble.
type fixture struct {
	*testing.T
	svc   *service.Service
	store *memory
	world *world
	peers service.Peers
	stop  context.CancelFunc
	wg    sync.WaitGroup

	asleep atomic.Int64 // how long the registry did not run
}

const (
	lease    = 30 * time.Second
	interval = 5 * time.Second
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureOf(t, alone{}, nil)
}

// newFixtureOf makes a registry with peers, in the world and on the database of another one where there is one.
func newFixtureOf(t *testing.T, peers service.Peers, other *fixture) *fixture {
	t.Helper()
	f := &fixture{T: t, peers: peers}
	if other != nil {
		f.store, f.world = other.store, other.world
	} else {
		f.store = &memory{instances: map[string]service.Instance{}}
		f.world = &world{health: map[string]routing.Status{}, checks: map[string]int{}, changed: map[string]int{}, took: time.Millisecond,
			proofs: map[string][]string{}, mute: map[string]bool{}}
	}
	f.run()
	t.Cleanup(f.halt)
	return f
}

func (f *fixture) run() {
	f.Helper()
	var err error
	f.svc, err = service.New(f.Context(), service.Config{
		Lease: lease, CheckInterval: interval, MaxInstances: 1000, Logger: slog.New(slog.NewTextHandler(f.Output(), nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(f.asleep.Load())) }, Key: keyOf,
	}, f.store, f.world, f.world, f.world, f.peers, everywhere{})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	f.wg.Go(func() { f.svc.RunChecks(ctx) })
	f.wg.Go(func() { f.svc.RunFlush(ctx) })
}

func (f *fixture) halt() {
	f.stop()
	f.wg.Wait()
}

func (f *fixture) register(url string) service.Instance {
	f.Helper()
	r, err := f.svc.Register(f.Context(), pets, service.Registration{Address: service.Address{URL: url}})
	if err != nil {
		f.Fatalf("register %s: %v", url, err)
	}
	return r.Instance
}

// beat registers an instance of pets by version 2.
func (f *fixture) beat(url string) *service.Result {
	f.Helper()
	r, err := f.as(pets, url, true)
	if err != nil {
		f.Fatalf("register %s: %v", url, err)
	}
	return r
}

// as registers a URL for an account.
func (f *fixture) as(who service.Caller, url string, version2 bool) (*service.Result, error) {
	return f.svc.Register(f.Context(), who, service.Registration{Address: service.Address{URL: url}, Version2: version2})
}

// nextCheck waits until an instance was checked once more.
func (f *fixture) nextCheck(url string) {
	for n := f.world.checksOf(url); f.world.checksOf(url) == n; {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

func (f *fixture) status(url string) routing.Status {
	for _, in := range f.svc.Instances() {
		if in.URL.String() == url {
			return in.Status
		}
	}
	return ""
}

func address(i int) string { return fmt.Sprintf("http://127.1.%d.%d:80", i/250, i%250+1) }

// everywhere is a network of which instances may have each address.
type everywhere struct{}

func (everywhere) Addr(netip.Addr) error { return nil }

func (everywhere) Reserved(string) bool { return false }
