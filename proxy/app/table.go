package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/routing"
	"micromesh/proxy/service"
)

// table publishes the routing table: what the registry says of instances, and the host routes of the database. It
// follows both at once, and makes the whole bucket right after a reconnect, and now and then, since NATS may have lost what it had.
type table struct {
	js      jetstream.JetStream
	store   service.Store
	keeper  *kv.Keeper
	log     *slog.Logger
	changed chan struct{} // routes have changed
	wrong   chan struct{} // others have written to the bucket

	bucket    jetstream.KeyValue // that was filled last
	published map[string][]byte  // what the bucket holds, as far as this process knows; nil is unknown
	slugs     map[string]slugEntry
}

var _ service.Table = (*table)(nil)

const (
	resync   = 30 * time.Second
	opTime   = 5 * time.Second
	firstTry = 50 * time.Millisecond
	lastTry  = 2 * time.Second
	gap      = 5 * time.Millisecond // between two updates, at least
)

func newTable(js jetstream.JetStream, st service.Store, keeper *kv.Keeper, log *slog.Logger) *table {
	return &table{
		js: js, store: st, keeper: keeper, log: log, changed: make(chan struct{}, 1), wrong: make(chan struct{}, 1), slugs: map[string]slugEntry{},
	}
}

// RoutesChanged implements service.Table.
func (t *table) RoutesChanged(context.Context) {
	select {
	case t.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// guard watches the bucket for what others write to it, until ctx ends.
func (t *table) guard(ctx context.Context) {
	t.keeper.Guard(ctx, t.js, kv.Routing, t.log, func() {
		select {
		case t.wrong <- struct{}{}:
		default:
		}
	})
}

// run publishes until ctx ends.
func (t *table) run(ctx context.Context) {
	instances := kv.Watch(ctx, t.js, kv.Instances, t.log, decodeInstance, kv.SealedBy(t.keeper.Seal()))
	defer instances.Wait()
	again := time.NewTicker(resync)
	defer again.Stop()
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	reconnected := t.js.Conn().StatusChanged(nats.CONNECTED)
	defer t.js.Conn().RemoveStatusListener(reconnected)
	delay := firstTry
	pace := kv.Pace{Gap: gap}
	for ctx.Err() == nil {
		pace.Wait(ctx)
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
		pace.Done()
		for waits := true; waits; {
			waits = false
			select {
			case <-moved:
			case <-t.changed:
			case <-look.C:
				waits = !t.lost(ctx)
			case <-again.C:
				t.published = nil
			case <-t.wrong:
				t.published = nil
			case <-reconnected:
				t.published = nil
			case <-retry:
			case <-ctx.Done():
			}
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
	ctx, end, err := kv.While(ctx, t.js.Conn())
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	if !instances.Synced() {
		return nil
	}
	if t.published != nil {
		return t.update(ctx, instances)
	}
	var want map[string][]byte
	bucket, err := kv.Fill(ctx, t.js, kv.Routing, kv.Options{Keeper: t.keeper}, func(map[string][]byte) (_ map[string][]byte, err error) {
		want, err = t.want(ctx, instances.Load())
		return want, err
	})
	if err == nil {
		t.bucket, t.published = bucket, want
	}
	return err
}

// lost reports whether NATS has lost the bucket, which is to be filled again then.
func (t *table) lost(ctx context.Context) bool {
	if t.published == nil || !t.js.Conn().IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	whole, err := kv.Filled(ctx, t.js, kv.Routing, t.keeper.Seal())
	if err != nil || whole {
		return false
	}
	t.published = nil
	return true
}

// want is the table as it should be.
func (t *table) want(ctx context.Context, instances map[string]*routing.Instance) (map[string][]byte, error) {
	routes, err := t.store.Routes(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	slugs := map[string][]*routing.Instance{}
	for _, i := range instances {
		slugs[i.Slug] = append(slugs[i.Slug], i)
	}
	want := make(map[string][]byte, len(slugs)+len(routes))
	for slug, all := range slugs {
		if want[routing.SlugKey(slug)], err = t.slugEntry(slug, all); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(t.slugs, func(slug string, _ slugEntry) bool { return slugs[slug] == nil })
	for _, r := range routes {
		if want[routing.HostKey(r.ID)], err = json.Marshal(routing.HostRoute{ID: r.ID, Target: r.Target}); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// slugEntry is the entry of a slug with the instances that it was made of, which are replaced when they change.
type slugEntry struct {
	of    []*routing.Instance
	value []byte
}

// slugEntry gives the entry of a slug, made anew only if its instances have changed: there may be thousands of others.
func (t *table) slugEntry(slug string, of []*routing.Instance) ([]byte, error) {
	slices.SortFunc(of, func(a, b *routing.Instance) int { return cmp.Compare(a.ID, b.ID) })
	if e, ok := t.slugs[slug]; ok && slices.Equal(e.of, of) {
		return e.value, nil
	}
	targets := make([]routing.Target, len(of))
	for n, i := range of {
		targets[n] = routing.Target{ID: i.ID, URL: i.URL, Status: i.Status}
	}
	value, err := json.Marshal(routing.Slug{Slug: slug, Instances: targets})
	if err == nil {
		t.slugs[slug] = slugEntry{of, value}
	}
	return value, err
}

// update writes only what differs from what was published last.
func (t *table) update(ctx context.Context, instances *kv.Map[*routing.Instance]) error {
	want, err := t.want(ctx, instances.Load())
	if err != nil {
		return err
	}
	leaving, others := t.inOrder(t.differing(want), want)
	if err := t.write(ctx, leaving, instances); err != nil {
		return err
	}
	return t.write(ctx, others, instances)
}

// inOrder splits keys into those of slugs that lose an address, which are written first, and the others. A gateway that learnt first of the
// slug that gets the address would send it requests for the slug that loses it.
func (t *table) inOrder(keys []string, want map[string][]byte) (leaving, others []string) {
	for _, k := range keys {
		now := addresses(want[k])
		loses := slices.ContainsFunc(addresses(t.published[k]), func(url string) bool { return !slices.Contains(now, url) })
		if loses {
			leaving = append(leaving, k)
		} else {
			others = append(others, k)
		}
	}
	return leaving, others
}

// addresses returns the URLs of a slug's entry; none of any other entry.
func addresses(entry []byte) (urls []string) {
	var s routing.Slug
	if json.Unmarshal(entry, &s) != nil {
		return nil
	}
	for _, i := range s.Instances {
		urls = append(urls, i.URL)
	}
	return urls
}

// write writes the entries of keys as they should be now.
func (t *table) write(ctx context.Context, keys []string, instances *kv.Map[*routing.Instance]) error {
	if len(keys) == 0 {
		return nil
	}
	written := map[string][]byte{}
	err := kv.WriteAll(ctx, t.bucket, keys, func() (map[string][]byte, error) {
		now, err := t.want(ctx, instances.Load()) // which may have changed again; what else has is the next update's business
		clear(written)
		for _, k := range keys {
			if v, ok := now[k]; ok {
				written[k] = v
			}
		}
		return written, err
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		delete(t.published, k)
	}
	maps.Copy(t.published, written)
	return nil
}

// differing gives the keys of which something else was published last than is wanted.
func (t *table) differing(want map[string][]byte) (keys []string) {
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
	return keys
}
