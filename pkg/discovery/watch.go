package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
)

// How soon a watch that broke is tried again, and how long one may take to deliver what the bucket holds.
const (
	firstRetry  = 50 * time.Millisecond
	slowestTry  = 2 * time.Second
	syncTimeout = 10 * time.Second

	lostGrace = 5 * time.Second // for nodes to write themselves again into a bucket that was lost
)

var (
	errDisconnected = errors.New("the connection was lost")
	errReconnected  = errors.New("the connection was lost and is back")
	errEnded        = errors.New("the watcher ended")
	errNoSnapshot   = errors.New("the bucket's content did not come")
)

// watch follows the bucket until ctx ends, for ever anew after each failure.
func (r *Registry) watch(ctx context.Context) {
	nc := r.js.Conn()
	status := nc.StatusChanged(nats.CONNECTED, nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer nc.RemoveStatusListener(status)

	delay := firstRetry
	for {
		wasInSync, err := r.follow(ctx, status)
		if ctx.Err() != nil {
			return
		}
		if wasInSync {
			delay = firstRetry
			r.log.Warn("discovery_watch_lost", "error", err)
		} else {
			r.log.Debug("discovery_watch_failed", "error", err)
		}
		if !pause(ctx, delay, status) {
			return
		}
		delay = min(2*delay, slowestTry)
	}
}

// pause waits before the next try: less long where the connection comes back meanwhile.
func pause(ctx context.Context, delay time.Duration, status <-chan nats.Status) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case s := <-status:
			if s == nats.CONNECTED {
				return true
			}
		}
	}
}

// follow takes up the whole bucket, then every change of it, until something breaks. nats.go would resume an
// interrupted watch by itself, but without saying so, and only after missed heartbeats; a new one after each
// reconnection is in sync within a round trip, and tells what was deregistered meanwhile.
func (r *Registry) follow(ctx context.Context, status <-chan nats.Status) (inSync bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s := r.js.Conn().Status(); s != nats.CONNECTED {
		return false, errDisconnected
	}
	watcher, err := r.startWatcher(ctx, cancel)
	if err != nil {
		return false, err
	}
	defer func() {
		r.live.Store(false)
		cancel()
		drain(watcher)
	}()

	r.mu.Lock()
	created := r.created
	r.mu.Unlock()
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	overdue := time.NewTimer(syncTimeout)
	defer overdue.Stop()
	var content []jetstream.KeyValueEntry
	for {
		select {
		case <-ctx.Done():
			return inSync, ctx.Err()
		case s := <-status:
			if s == nats.CONNECTED {
				return inSync, errReconnected
			}
			return inSync, errDisconnected
		case <-look.C:
			if _, err := kv.Same(ctx, r.js, r.cfg.Bucket, created); err != nil {
				return inSync, err
			}
		case <-overdue.C:
			if !inSync {
				return inSync, errNoSnapshot
			}
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return inSync, errEnded
			case e == nil:
				inSync = true
				r.takeUp(content, created)
				content = nil
			case inSync:
				r.update(func(t *table) { r.apply(t, e) })
			default:
				content = append(content, e)
			}
		}
	}
}

// startWatcher bounds how long the start takes: the watcher itself lives as long as ctx.
func (r *Registry) startWatcher(ctx context.Context, cancel context.CancelFunc) (jetstream.KeyWatcher, error) {
	opening, done := context.WithTimeout(ctx, r.cfg.Timeout)
	defer done()
	bucket, err := r.open(opening)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(opening, cancel)
	watcher, err := bucket.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", r.cfg.Bucket, err)
	}
	if !stop() {
		drain(watcher)
		return nil, fmt.Errorf("watch bucket %s: %w", r.cfg.Bucket, context.DeadlineExceeded)
	}
	return watcher, nil
}

// drain reads what a watcher still holds whose context has ended, without which its goroutine could wait for a reader
// for ever. It is not stopped by its Stop, which while NATS is away waits for an answer for seconds.
func drain(w jetstream.KeyWatcher) {
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-patience.C:
			return
		}
	}
}

// takeUp replaces the table by the bucket's content. A missing node has left, unless the bucket was lost: then live nodes write
// themselves again immediately.
func (r *Registry) takeUp(content []jetstream.KeyValueEntry, created time.Time) {
	grace := lostGrace
	if created.Equal(r.seen) && len(content) > 0 {
		grace = 0
	}
	r.seen = created
	r.update(func(t *table) {
		present := make(map[string]bool, len(content))
		for _, e := range content {
			present[e.Key()] = e.Operation() == jetstream.KeyValuePut
			r.apply(t, e)
		}
		t.resynced(present, grace, time.Now())
	})
	if !r.Synced() {
		close(r.synced)
	}
	r.live.Store(true)
	r.log.Info("discovery_in_sync", "nodes", len(content))
	select {
	case r.renew <- struct{}{}:
	default:
	}
}

// apply takes up one entry of the bucket.
func (r *Registry) apply(t *table, e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		t.remove(e.Key())
		return
	}
	s, err := r.accept(t, e)
	if err != nil {
		r.refuse(e.Key(), err)
		return
	}
	if err := t.put(e.Key(), s.value, s.at, e.Revision(), time.Now()); err != nil {
		r.log.Warn("discovery_record_refused", "key", e.Key(), "error", err)
	}
}
