package discovery

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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/errs"
	"micromesh/pkg/kv"
	_ "micromesh/pkg/rpc/securetls" // go-micro's TLS is not verified without it
)

// Config says where the nodes are stored and how long they live. Its zero value is useful.
type Config struct {
	Bucket   string                // of the KV store; "nodes"
	TTL      time.Duration         // the lease of a registration that names none, which the Registry itself then refreshes; 30 s
	MaxAge   time.Duration         // after which the bucket drops what nobody refreshed: a backstop, and the longest lease; 5 min
	Timeout  time.Duration         // of one request to the store; 2 s
	Storage  jetstream.StorageType // of a bucket that is created; files
	Replicas int                   // of a bucket that is created; 1
}

func (c *Config) complete() error {
	c.Bucket = orDefault(c.Bucket, "nodes")
	c.TTL = orDefault(c.TTL, 30*time.Second)
	c.MaxAge = orDefault(c.MaxAge, 5*time.Minute)
	c.Timeout = orDefault(c.Timeout, 2*time.Second)
	c.Replicas = orDefault(c.Replicas, 1)
	var problems []error
	if c.TTL < time.Millisecond || c.Timeout <= 0 || c.Replicas < 1 {
		problems = append(problems, errors.New("discovery: TTL, Timeout and Replicas must be positive"))
	}
	if c.MaxAge < c.TTL {
		problems = append(problems, fmt.Errorf("discovery: MaxAge (%v) must be at least TTL (%v)", c.MaxAge, c.TTL))
	}
	return errors.Join(problems...)
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Option is what New takes beside the configuration.
type Option func(*Registry)

// WithLogger makes the registry log; without it, it is silent.
func WithLogger(log *slog.Logger) Option {
	return func(r *Registry) { r.log = log }
}

// WithSeed sets the services until the bucket was read, such as those that ListServices returned when the process last ran. A
// seeded node that isn't in the bucket then has a few seconds to write itself again. Malformed services are left out.
func WithSeed(services []*registry.Service) Option {
	return func(r *Registry) { r.seed = services }
}

// Registry is the nodes of all services, watched into memory. Its methods are safe for concurrent use.
type Registry struct {
	js      jetstream.JetStream
	cfg     Config
	log     *slog.Logger
	seal    kv.Seal // opens guests; nil where they have no seals
	voucher Voucher // signs nodes; nil where they have no signatures
	seed    []*registry.Service
	seen    time.Time // when the bucket was made that was seen whole last; of the watch

	snapshot atomic.Pointer[Snapshot]
	live     atomic.Bool   // the watch is connected and in sync
	synced   chan struct{} // closed when it was so for the first time

	mu        sync.Mutex // over what follows
	table     *table
	bucket    jetstream.KeyValue
	created   time.Time // when the bucket was made
	own       map[string]*registration
	sealer    kv.Seal // of guests that this process registers; nil seals none
	watchers  map[*watcher]struct{}
	listeners map[*func(string)]struct{}

	writing sync.Mutex // taken before mu: a refresh and a deregistration of the same node don't overtake each other

	renew  chan struct{} // asks for own registrations to be written again
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

var _ registry.Registry = (*Registry)(nil)

// New starts a registry on a bucket, which it creates where it is missing. It doesn't wait for NATS: Ready does. The
// connection should never give up (nats.MaxReconnects(-1)). Close ends it.
func New(js jetstream.JetStream, cfg Config, opts ...Option) (*Registry, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Registry{
		js: js, cfg: cfg, log: slog.New(slog.DiscardHandler),
		synced:    make(chan struct{}),
		table:     newTable(cfg.MaxAge),
		own:       map[string]*registration{},
		watchers:  map[*watcher]struct{}{},
		listeners: map[*func(string)]struct{}{},
		renew:     make(chan struct{}, 1),
	}
	r.snapshot.Store(&Snapshot{})
	for _, o := range opts {
		o(r)
	}
	r.plant()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Go(func() { r.watch(ctx) })
	r.wg.Go(func() { r.keep(ctx) })
	return r, nil
}

// Close ends the watch and all watchers, and waits for the registry's goroutines. It deregisters nothing: leases run
// out by themselves. The last answers remain.
func (r *Registry) Close() error {
	r.cancel()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		w.end()
	}
	clear(r.watchers)
	return nil
}

// Ready waits until the whole bucket was seen once.
func (r *Registry) Ready(ctx context.Context) error {
	select {
	case <-r.synced:
		return nil
	case <-ctx.Done():
		return notReady().Because(ctx.Err())
	}
}

// Synced tells whether the whole bucket was seen once.
func (r *Registry) Synced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

func notReady() *errs.Error { return errs.New(errs.Unavailable, "", "discovery isn't ready") }

// Live tells whether the watch is connected and in sync right now.
func (r *Registry) Live() bool { return r.live.Load() }

// Lookup returns a service, or nil where no node of it is known. It costs a map lookup; the answer is shared.
func (r *Registry) Lookup(service string) *Service {
	if hidden(service) {
		return nil
	}
	return r.snapshot.Load().services[service]
}

// Services gives all services, by name. They are shared: don't change them.
func (r *Registry) Services() []*Service {
	services := r.snapshot.Load().services
	all := slices.SortedFunc(maps.Values(services), func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(all, func(s *Service) bool { return hidden(s.Name) })
}

// GetService gives the service, an entry for each version, as copies that the caller owns. Errors:
// registry.ErrNotFound; errs.Unavailable while the bucket has not been seen yet.
func (r *Registry) GetService(name string, _ ...registry.GetOption) ([]*registry.Service, error) {
	if s := r.Lookup(name); s != nil {
		return s.micro(), nil
	}
	if !r.Synced() {
		return nil, notReady()
	}
	return nil, registry.ErrNotFound
}

// ListServices gives all services with their nodes, by name, as copies that the caller owns. Until the bucket has been
// seen it gives what it was seeded with, and otherwise errs.Unavailable.
func (r *Registry) ListServices(...registry.ListOption) ([]*registry.Service, error) {
	var all []*registry.Service
	for _, s := range r.Services() {
		all = append(all, s.micro()...)
	}
	if all == nil && !r.Synced() {
		return nil, notReady()
	}
	return all, nil
}

// OnChange calls fn with the name of each service whose nodes changed, after Lookup answers the new ones. fn must
// return quickly, and not call stop, after which it is not called any more.
func (r *Registry) OnChange(fn func(service string)) (stop func()) {
	key := &fn
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners[key] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.listeners, key)
	}
}

// Init is here for go-micro; a Registry is configured by New alone.
func (r *Registry) Init(...registry.Option) error { return nil }

// Options is here for go-micro.
func (r *Registry) Options() registry.Options {
	return registry.Options{Context: context.Background(), Timeout: r.cfg.Timeout}
}

// String names the implementation.
func (r *Registry) String() string { return "jetstream" }

// plant puts the seed into the table.
func (r *Registry) plant() {
	now := time.Now()
	for _, s := range r.seed {
		for _, n := range s.Nodes {
			key, value, err := encode(s, n, r.cfg.TTL, nil)
			if err == nil {
				err = r.table.put(key, value, time.Time{}, 0, now)
			}
			if err != nil {
				r.log.Warn("discovery_seed_refused", "service", s.Name, "error", err)
			}
		}
	}
	r.seed = nil
	changed, _ := r.table.take()
	r.snapshot.Store(r.snapshot.Load().with(changed))
}

// update changes the table and publishes what came of it.
func (r *Registry) update(change func(*table)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.table)
	changed, results := r.table.take()
	if len(changed) == 0 {
		return
	}
	r.snapshot.Store(r.snapshot.Load().with(changed))
	for w := range r.watchers {
		if !w.offer(results) {
			delete(r.watchers, w)
		}
	}
	for fn := range r.listeners {
		for name := range changed {
			(*fn)(name)
		}
	}
}

// open gives the bucket, created where it is missing, and refused where it is more than a bucket.
func (r *Registry) open(ctx context.Context) (jetstream.KeyValue, error) {
	b, err := r.js.KeyValue(ctx, r.cfg.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		b, err = r.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: r.cfg.Bucket, Description: "RPC nodes, each written by its own process",
			TTL: r.cfg.MaxAge, History: 1, MaxValueSize: maxValue, Storage: r.cfg.Storage, Replicas: r.cfg.Replicas,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			b, err = r.js.KeyValue(ctx, r.cfg.Bucket)
		}
	}
	var created time.Time
	if err == nil {
		created, err = kv.Created(ctx, b)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", r.cfg.Bucket, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bucket, r.created = b, created
	return b, nil
}

// store gives the bucket for one request, at once refused while NATS is away.
func (r *Registry) store(ctx context.Context) (jetstream.KeyValue, error) {
	if s := r.js.Conn().Status(); s != nats.CONNECTED {
		return nil, errs.New(errs.Unavailable, "", "discovery is away").Because(fmt.Errorf("nats is %s", strings.ToLower(s.String())))
	}
	r.mu.Lock()
	kv := r.bucket
	r.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	return r.open(ctx)
}
