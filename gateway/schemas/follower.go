// Package schemas keeps the gateway's bindings as the services that run describe themselves: a node in discovery names the
// hash of its schema, a [Follower] fetches that once, checks it, compiles it, and puts the new set of bindings in place of
// the old one. No request ever waits for any of it.
//
// What can't be trusted is refused: see [transcode.NewService]. A service whose newest schema is refused or can't be had
// keeps the routes that it has.
package schemas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"micromesh/gateway/transcode"
	"micromesh/pkg/discovery"
	"micromesh/pkg/schema"
)

const (
	pace      = 50 * time.Millisecond // between two rounds: a service that comes and goes all the time costs no more
	idle      = time.Minute           // between two rounds where nothing changes
	remembers = 24 * time.Hour        // how long a service without a node that names a schema is known
	keeps     = time.Hour             // between two times that what is kept says when each was seen
)

// Directory is what a Follower needs of discovery; *discovery.Registry is one.
type Directory interface {
	// Services gives all services.
	Services() []*discovery.Service
	// OnChange calls fn after each change.
	OnChange(fn func(service string)) (stop func())
	// Ready waits until all services were seen once.
	Ready(ctx context.Context) error
}

// Config is what a Follower needs. All must be set.
type Config struct {
	Nodes   Directory
	JS      jetstream.JetStream
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	BuiltIn *transcode.Bindings // of the mesh's own services, which are there always
	Self    string              // the gateway's slug, which has pages and no methods

	// Held reports whether a slug has instances of its own account, where publishers of schemas prove nothing: such a slug takes no
	// schema that comes after them. Nil reports false: publishers have logins of their own.
	Held    func(slug string) bool
	Version string // of the mesh, in descriptions
	Guests  bool   // services in plain go-micro are described too
}

// Follower follows the services' schemas. Its methods are safe for concurrent use.
type Follower struct {
	cfg     Config
	log     *slog.Logger
	metrics metrics

	bindings atomic.Pointer[transcode.Bindings]
	pages    atomic.Pointer[Pages]
	status   atomic.Pointer[[]Status]
	saved    atomic.Pointer[map[string]Saved]
	settled  atomic.Bool
	wake     chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when what is to be saved has changed

	services map[string]*service // by slug; of the goroutine that runs, or of Restore before it, as what follows
	shown    map[string]bool     // services that the pages say are away
	guests   []guestNode         // that the pages describe
	kept     time.Time
}

// Pages are the descriptions of a set of bindings.
type Pages struct {
	OpenAPI, Docs       []byte
	OpenAPITag, DocsTag string // entity tags (RFC 9110, 8.8.3)
}

// New makes a follower that knows the mesh's own services. It follows once Run runs.
func New(cfg Config) (*Follower, error) {
	f := &Follower{
		cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Metrics), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		services: map[string]*service{},
	}
	f.saved.Store(&map[string]Saved{})
	f.report()
	return f, f.publish()
}

// Bindings gives where the present bindings are found: one load for each request.
func (f *Follower) Bindings() *atomic.Pointer[transcode.Bindings] { return &f.bindings }

// Pages describes the present bindings.
func (f *Follower) Pages() *Pages { return f.pages.Load() }

// Settled tells whether the schemas of all services that ran when discovery was first seen were looked at.
func (f *Follower) Settled() bool { return f.settled.Load() }

// Run follows until ctx ends, from when discovery was seen.
func (f *Follower) Run(ctx context.Context) {
	stop := f.cfg.Nodes.OnChange(func(string) { f.signal() })
	defer stop()
	if f.cfg.Nodes.Ready(ctx) != nil {
		return // nothing was there to follow
	}
	for {
		wait := f.round(ctx)
		if !sleep(ctx, pace, nil) || !sleep(ctx, wait-pace, f.wake) {
			return
		}
	}
}

// signal asks for a round. Discovery calls it: it must not wait.
func (f *Follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// sleep waits for a time or less, and tells whether to go on.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// round looks at all services, fetches what is due, and tells how long nothing will be.
func (f *Follower) round(ctx context.Context) (wait time.Duration) {
	now := time.Now()
	f.observe(now)
	accepted := f.fetch(ctx, now)
	forgotten := f.forget(now)
	if ctx.Err() != nil {
		return 0
	}
	if accepted || forgotten || !maps.Equal(f.shown, f.away()) || !slices.Equal(f.guests, f.guestNodes()) {
		if err := f.publish(); err != nil { // every part of it was compiled before
			f.log.Error("schemas_not_described", "error", err)
		}
	}
	if now.Sub(f.kept) > keeps {
		f.keep(now)
	}
	f.report()
	f.settled.Store(true)
	wait = idle
	for _, s := range f.services {
		if s.due() {
			wait = min(wait, time.Until(s.next))
		}
	}
	return wait
}

// observe takes up which schema each service names now.
func (f *Follower) observe(now time.Time) {
	for _, s := range f.services {
		s.nodes = 0
	}
	for _, running := range f.cfg.Nodes.Services() {
		if f.cfg.BuiltIn.Has(running.Name) {
			continue
		}
		nodes := slices.DeleteFunc(slices.Clone(running.Nodes), (*discovery.Node).Stock) // guests have no schema
		hash, ok := newest(nodes)
		s := f.services[running.Name]
		if s == nil && !ok {
			continue // it has no methods to bind
		}
		if s == nil {
			s = &service{slug: running.Name}
			f.services[running.Name] = s
		}
		s.nodes = len(nodes)
		if ok {
			s.wants(hash, now)
		}
		f.hold(s)
	}
}

// hold refuses the schema of a slug that its account holds by instances, until they are gone.
func (f *Follower) hold(s *service) {
	held := s.bindings == nil && f.cfg.Held != nil && f.cfg.Held(s.slug)
	if held && !s.held {
		s.problem = "the slug has instances that its account has registered before: they serve it"
		f.log.Warn("schema_refused", "slug", s.slug, "schema", s.wanted, "error", s.problem)
	}
	if !held && s.held {
		s.problem = ""
	}
	s.held = held
}

// forget drops services of which no node was seen for long.
func (f *Follower) forget(now time.Time) (routed bool) {
	for slug, s := range f.services {
		if now.Sub(s.seen) > remembers {
			routed = routed || s.bindings != nil
			delete(f.services, slug)
		}
	}
	return routed
}

// away are the services with bindings that no node serves now.
func (f *Follower) away() map[string]bool {
	out := map[string]bool{}
	for slug, s := range f.services {
		if s.bindings != nil && s.nodes == 0 {
			out[slug] = true
		}
	}
	return out
}

// publish puts the bindings of all services in place, and what describes and keeps them.
func (f *Follower) publish() error {
	var sets []*transcode.Bindings
	for _, s := range f.services {
		if s.bindings != nil {
			sets = append(sets, s.bindings)
		}
	}
	all := f.cfg.BuiltIn.With(sets...)
	f.shown = f.away()
	f.guests = f.guestNodes()
	pages, err := describe(all, f.cfg.Version, f.shown, guestsOf(f.guests, all))
	if err == nil {
		f.pages.Store(pages)
	}
	f.keep(time.Now())
	f.bindings.Store(all) // last: who finds a route finds it described and kept
	return err
}

// keep makes what Save gives.
func (f *Follower) keep(now time.Time) {
	saved := map[string]Saved{}
	for slug, s := range f.services {
		if s.bindings != nil {
			saved[slug] = Saved{Hash: s.schema.Hash, Set: s.schema.Set, Seen: s.seen}
		}
	}
	f.saved.Store(&saved)
	f.kept = now
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Status is how it stands with the schema of a service.
type Status struct {
	Slug    string `json:"slug"`
	Nodes   int    `json:"nodes"`             // that run
	Serves  string `json:"serves,omitempty"`  // hash of the schema whose routes are served
	Wants   string `json:"wants,omitempty"`   // hash that the newest node names
	Problem string `json:"problem,omitempty"` // why they differ
}

// Status tells how it stands with all services that have named a schema, by slug.
func (f *Follower) Status() []Status { return *f.status.Load() }

// report makes what Status and the metrics say.
func (f *Follower) report() {
	list := make([]Status, 0, len(f.services))
	counts := map[string]float64{}
	for _, s := range f.services {
		list = append(list, Status{Slug: s.slug, Nodes: s.nodes, Serves: s.schema.Hash, Wants: s.wanted, Problem: s.problem})
		counts[s.state()]++
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Slug, b.Slug) })
	f.status.Store(&list)
	f.metrics.set(counts)
}

// Saved is a schema as it is kept for the next start.
type Saved struct {
	Hash string    `json:"hash"`
	Set  []byte    `json:"set"`
	Seen time.Time `json:"seen"` // when a node named it last
}

// Changed gives a channel that is closed when Save gives something else. Take it before Save.
func (f *Follower) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Save gives the schemas that are served. It must not be changed.
func (f *Follower) Save() map[string]Saved { return *f.saved.Load() }

// Restore takes up, before Run, what Save gave when the process last ran, as carefully as what services publish: the error
// names what was left out.
func (f *Follower) Restore(saved map[string]Saved) error {
	var wrong []error
	for slug, one := range saved {
		s := &service{slug: slug, seen: one.Seen}
		if err := f.accept(s, schema.Schema{Hash: one.Hash, Set: one.Set}); err != nil {
			wrong = append(wrong, fmt.Errorf("schema of %s: %s", slug, short(err.Error())))
			continue
		}
		s.wanted = one.Hash
		f.services[slug] = s
	}
	f.report()
	return errors.Join(append(wrong, f.publish())...)
}
