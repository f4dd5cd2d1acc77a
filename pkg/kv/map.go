// Package kv holds the state that every process must know at once: JetStream key-value buckets, watched into memory.
//
// A bucket is written by one service, which owns its content and can rebuild it from its database ([Fill]); everybody
// else watches it ([Watch]). A watcher answers from memory, keeps the last known good state through an outage, and
// never gives up. Where a bucket has lost its content it keeps that state until the owner has filled the bucket again, and
// not longer.
package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Map is a watched bucket: an immutable snapshot that is replaced with each change. Its methods are safe for
// concurrent use.
type Map[V any] struct {
	bucket string
	decode func(key string, value []byte) (V, error)
	log    *slog.Logger
	seal   Seal // nil where entries have none

	current   atomic.Pointer[map[string]V]
	synced    atomic.Bool
	seeded    atomic.Bool
	confirmed atomic.Pointer[time.Time]

	marked  bool      // its owner marks what it has filled; of the goroutine that watches, as what follows
	created time.Time // when the bucket was made that was last seen whole
	chain   chain     // of the entries that were taken up
	made    time.Time // when the bucket was made that chain is of
	highest uint64    // revision that was seen of it

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, with each change

	done chan struct{}
}

// batch bounds how many changes one new snapshot takes up.
const batch = 4096

// WatchOption is an option of [Watch].
type WatchOption func(*Seal)

// SealedBy makes a map refuse what the bucket's owner has not sealed: it keeps the entry that it had. A nil seal accepts everything.
func SealedBy(seal Seal) WatchOption { return func(s *Seal) { *s = seal } }

// Watch watches a bucket until ctx ends; Wait tells when its goroutine is gone. A value that decode refuses is logged
// and left out. The bucket is created by its owner: until it exists the map is empty and not synced.
func Watch[V any](ctx context.Context, js jetstream.JetStream, bucket string, log *slog.Logger, decode func(key string, value []byte) (V, error), opts ...WatchOption) *Map[V] {
	m := &Map[V]{bucket: bucket, decode: decode, log: log.With("bucket", bucket), changed: make(chan struct{}), done: make(chan struct{})}
	for _, o := range opts {
		o(&m.seal)
	}
	m.current.Store(&map[string]V{})
	m.confirm()
	go func() {
		defer close(m.done)
		m.run(ctx, js)
	}()
	return m
}

// Load gives the present snapshot. It must not be changed.
func (m *Map[V]) Load() map[string]V { return *m.current.Load() }

// Snapshot gives the present snapshot by reference: the same reference means the same content.
func (m *Map[V]) Snapshot() *map[string]V { return m.current.Load() }

// Get gives one value.
func (m *Map[V]) Get(key string) (V, bool) {
	v, ok := (*m.current.Load())[key]
	return v, ok
}

// Synced tells whether the bucket's whole content was seen at least once.
func (m *Map[V]) Synced() bool { return m.synced.Load() }

// Age tells how long ago it was last known that the snapshot is what the bucket holds: seconds at most while the watch lives. One
// that was never in sync counts from its beginning.
func (m *Map[V]) Age() time.Duration { return time.Since(*m.confirmed.Load()) }

func (m *Map[V]) confirm() {
	now := time.Now()
	m.confirmed.Store(&now)
}

// Changed gives a channel that is closed at the next change. Take it before Load, so that no change is missed.
func (m *Map[V]) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// WaitFor waits until cond holds for a snapshot of a synced bucket, or ctx ends.
func (m *Map[V]) WaitFor(ctx context.Context, cond func(map[string]V) bool) error {
	for {
		ch := m.Changed()
		if m.Synced() && cond(m.Load()) {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Known reports whether the map holds the bucket's whole content, or what was seeded in its place.
func (m *Map[V]) Known() bool { return m.Synced() || m.seeded.Load() }

// Seed puts a snapshot in place before the first sync: what a process saved when it last ran. It holds until the bucket's whole
// content has come.
func (m *Map[V]) Seed(s map[string]V) {
	if m.Synced() {
		return
	}
	m.seeded.Store(true)
	m.publish(maps.Clone(s))
}

// Ended gives a channel that is closed when the watch has ended.
func (m *Map[V]) Ended() <-chan struct{} { return m.done }

// Wait waits until the watch has ended, after its context did.
func (m *Map[V]) Wait() { <-m.done }

func (m *Map[V]) publish(s map[string]V) {
	m.current.Store(&s)
	m.mu.Lock()
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
}

// run watches, and watches again after every failure, until ctx ends.
func (m *Map[V]) run(ctx context.Context, js jetstream.JetStream) {
	const slowest, soon = 2 * time.Second, 200 * time.Millisecond
	delay := 20 * time.Millisecond
	for ctx.Err() == nil {
		started := time.Now()
		err := m.watch(ctx, js)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, errReconnected) && !errors.Is(err, errVouched) {
			m.log.Warn("watch_interrupted", "error", err)
		}
		if time.Since(started) > slowest {
			delay = 20 * time.Millisecond
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
		delay = min(2*delay, slowest)
		if errors.Is(err, jetstream.ErrBucketNotFound) { // its owner is about to make it
			delay = min(delay, soon)
		}
	}
}

// errReconnected says that the server may be another one by now: the consumer behind the watch would notice only after
// some missed heartbeats.
var errReconnected = errors.New("the connection was made anew")

// errGone says that the bucket was wiped or made anew behind the watcher's back.
var errGone = errors.New("the bucket was replaced")

func (m *Map[V]) watch(ctx context.Context, js jetstream.JetStream) error {
	opCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	bucket, err := js.KeyValue(opCtx, m.bucket)
	if err != nil {
		return fmt.Errorf("open bucket: %w", err)
	}
	info, err := plainInfo(opCtx, bucket)
	if err != nil {
		return err
	}
	// The watcher is ended through its context: Stop would wait for an answer from a server that is away.
	watchCtx, end := context.WithCancel(ctx)
	defer end()
	watcher, err := bucket.WatchAll(watchCtx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}

	connected := js.Conn().StatusChanged(nats.CONNECTED)
	defer js.Conn().RemoveStatusListener(connected)
	check := time.NewTicker(Look)
	defer check.Stop()
	r := newReading(m, bucket, info)
	defer r.due.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-connected:
			return errReconnected
		case <-r.due.C:
			r.complete()
		case <-check.C:
			same, err := r.same(ctx, js)
			if err != nil {
				return err
			}
			if same && r.whole {
				m.confirm()
			}
		case e, ok := <-watcher.Updates():
			if !ok {
				return errClosed
			}
			if err := r.takeUp(ctx, e, watcher.Updates()); err != nil {
				return err
			}
		}
	}
}

// apply takes up a change. Where it is refused, what is known of the entry stays.
func (m *Map[V]) apply(s map[string]V, c change) {
	switch {
	case c.refused != nil:
		if known, ok := m.Get(c.key); ok {
			s[c.key] = known
		}
		return
	case c.deleted:
		delete(s, c.key)
		return
	}
	v, err := m.decode(c.key, c.value)
	if err != nil {
		m.log.Error("value_refused", "key", c.key, "error", err)
		delete(s, c.key)
		return
	}
	s[c.key] = v
}
