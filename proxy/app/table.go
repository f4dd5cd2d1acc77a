package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/routing"
	"micromesh/proxy/service"
)

// table publishes the routing table: what the registry says of instances, and the host routes of the database. It
// follows both at once, and makes the whole bucket right now and then, since NATS may have lost what it had.
type table struct {
	js      jetstream.JetStream
	store   service.Store
	log     *slog.Logger
	changed chan struct{} // routes have changed

	bucket    jetstream.KeyValue // nil until it is open
	published map[string][]byte  // what the bucket holds, as far as this process knows; nil is unknown
}

var _ service.Table = (*table)(nil)

const (
	resync   = 30 * time.Second
	opTime   = 5 * time.Second
	firstTry = 50 * time.Millisecond
	lastTry  = 2 * time.Second
)

func newTable(js jetstream.JetStream, st service.Store, log *slog.Logger) *table {
	return &table{js: js, store: st, log: log, changed: make(chan struct{}, 1)}
}

// RoutesChanged implements service.Table.
func (t *table) RoutesChanged(context.Context) {
	select {
	case t.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// run publishes until ctx ends.
func (t *table) run(ctx context.Context) {
	instances := kv.Watch(ctx, t.js, kv.Instances, t.log, decodeInstance)
	defer instances.Wait()
	again := time.NewTicker(resync)
	defer again.Stop()
	delay := firstTry
	for ctx.Err() == nil {
		moved := instances.Changed()
		var retry <-chan time.Time
		if err := t.publish(ctx, instances); err != nil && ctx.Err() == nil {
			t.log.Warn("routing_table_waits", "error", err)
			t.published = nil
			retry = time.After(delay)
			delay = min(2*delay, lastTry)
		} else {
			delay = firstTry
		}
		select {
		case <-moved:
		case <-t.changed:
		case <-again.C:
			t.published = nil
		case <-retry:
		case <-ctx.Done():
		}
	}
}

func decodeInstance(_ string, b []byte) (*routing.Instance, error) {
	i := &routing.Instance{}
	return i, json.Unmarshal(b, i)
}

// publish makes the bucket what it should be. Until the instances are known it leaves the bucket as it is: a table of
// yesterday is better than an empty one.
func (t *table) publish(ctx context.Context, instances *kv.Map[*routing.Instance]) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	if t.bucket == nil || t.published == nil {
		var err error
		if t.bucket, err = kv.Open(ctx, t.js, kv.Routing, kv.Options{}); err != nil {
			return err
		}
	}
	if !instances.Synced() {
		return nil
	}
	var want map[string][]byte
	load := func() (_ map[string][]byte, err error) {
		want, err = t.want(ctx, instances.Load())
		return want, err
	}
	var err error
	if t.published == nil {
		err = kv.Sync(ctx, t.bucket, load)
	} else if first, ferr := load(); ferr == nil {
		err = t.update(ctx, first, load)
	} else {
		err = ferr
	}
	if err != nil {
		return err
	}
	t.published = want
	return nil
}

// want is the table as it should be.
func (t *table) want(ctx context.Context, instances map[string]*routing.Instance) (map[string][]byte, error) {
	routes, err := t.store.Routes(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	slugs := map[string][]routing.Target{}
	for _, i := range instances {
		slugs[i.Slug] = append(slugs[i.Slug], routing.Target{ID: i.ID, URL: i.URL, Status: i.Status})
	}
	want := make(map[string][]byte, len(slugs)+len(routes))
	for slug, targets := range slugs {
		slices.SortFunc(targets, func(a, b routing.Target) int { return cmp.Compare(a.ID, b.ID) })
		if want[routing.SlugKey(slug)], err = json.Marshal(routing.Slug{Slug: slug, Instances: targets}); err != nil {
			return nil, err
		}
	}
	for _, r := range routes {
		if want[routing.HostKey(r.ID)], err = json.Marshal(routing.HostRoute{ID: r.ID, Target: r.Target}); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// update writes only what differs from what was published last.
func (t *table) update(ctx context.Context, want map[string][]byte, load func() (map[string][]byte, error)) error {
	var keys []string
	for k, v := range want {
		if !bytes.Equal(t.published[k], v) {
			keys = append(keys, k)
		}
	}
	for k := range t.published {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return kv.WriteAll(ctx, t.bucket, keys, func() (map[string][]byte, error) {
		all, err := load()
		if err != nil {
			return nil, err
		}
		some := map[string][]byte{}
		for _, k := range keys {
			if v, ok := all[k]; ok {
				some[k] = v
			}
		}
		return some, nil
	})
}
