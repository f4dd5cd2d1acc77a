package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"micromesh/pkg/kv"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

// board publishes instances in their bucket: each change at once, and the whole bucket after a reconnect, and now and then, since NATS may
// have lost what it had. What is published is what is true when it is: changes that wait behind an outage become one. The
// boards of all registries write the same bucket: none takes back what another knows better. That is whoever knows the
// later generation of an instance, and of two who know the same one, the one that checks it.
type board struct {
	js     jetstream.JetStream
	keeper *kv.Keeper
	log    *slog.Logger
	wrong  chan struct{} // others have written to the bucket

	mu      sync.Mutex
	waiting map[string]subject // by key
	order   []string           // keys of waiting, as they came
	woken   chan struct{}

	bucket *kv.Writer // nil until it is open
}

var _ service.Board = (*board)(nil)

type subject struct {
	slug, id string
	first    bool // published before what was told after it
}

// instances is what the board publishes.
type instances interface {
	Instance(id string) (service.Instance, bool)
	Instances() []service.Instance
	Learn(ctx context.Context, ids ...string) error
	Refresh(ctx context.Context) error
	Mine(id string) bool
}

const (
	resync   = 30 * time.Second
	syncTime = 20 * time.Second
	opTime   = 5 * time.Second
	firstTry = 50 * time.Millisecond
	lastTry  = 2 * time.Second
	atOnce   = 16 // changes that are published at the same time
)

func newBoard(js jetstream.JetStream, keeper *kv.Keeper, log *slog.Logger) *board {
	return &board{js: js, keeper: keeper, log: log, wrong: make(chan struct{}, 1), waiting: map[string]subject{}, woken: make(chan struct{}, 1)}
}

// Changed implements service.Board.
func (b *board) Changed(slug, id string) { b.add(subject{slug: slug, id: id}) }

// Displaced implements service.Board. A gateway that learnt of the other first would send it requests for this one's slug.
func (b *board) Displaced(slug, id string) { b.add(subject{slug, id, true}) }

func (b *board) add(s subject) {
	key := routing.InstanceKey(s.slug, s.id)
	b.mu.Lock()
	was, known := b.waiting[key]
	if !known {
		b.order = append(b.order, key)
	}
	s.first = s.first || was.first
	b.waiting[key] = s
	b.mu.Unlock()
	select {
	case b.woken <- struct{}{}:
	default:
	}
}

// next gives the key that waits longest.
func (b *board) next() (key string, s subject, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.order) == 0 {
		return "", subject{}, false
	}
	key = b.order[0]
	b.order = b.order[1:]
	s = b.waiting[key]
	delete(b.waiting, key)
	return key, s, true
}

// guard watches the bucket for what others write to it, until ctx ends.
func (b *board) guard(ctx context.Context) {
	b.keeper.Guard(ctx, b.js, kv.Instances, b.log, func() {
		select {
		case b.wrong <- struct{}{}:
		default:
		}
	})
}

// run publishes until ctx ends.
func (b *board) run(ctx context.Context, from instances) {
	again := time.NewTicker(resync)
	defer again.Stop()
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	reconnected := b.js.Conn().StatusChanged(nats.CONNECTED)
	defer b.js.Conn().RemoveStatusListener(reconnected)
	whole := true
	delay := firstTry
	for ctx.Err() == nil {
		if err := b.publish(ctx, from, whole); err != nil && ctx.Err() == nil {
			b.log.Warn("instances_not_published", "error", err)
			whole = true
			select {
			case <-time.After(delay):
			case <-reconnected:
			case <-ctx.Done():
			}
			delay = min(2*delay, lastTry)
			continue
		}
		whole, delay = false, firstTry
		select {
		case <-b.woken:
		case <-look.C:
			whole = b.lost(ctx)
		case <-again.C:
			whole = true
		case <-b.wrong:
			whole = true
		case <-reconnected:
			whole = true
		case <-ctx.Done():
		}
	}
}

func (b *board) publish(ctx context.Context, from instances, whole bool) error {
	ctx, end, err := kv.While(ctx, b.js.Conn())
	if err != nil {
		return err
	}
	defer end()
	if whole {
		if err := b.sync(ctx, from); err != nil {
			return err
		}
	}
	g := new(errgroup.Group)
	g.SetLimit(atOnce)
	for {
		key, s, ok := b.next()
		if !ok {
			return g.Wait()
		}
		put := func() error {
			err := b.put(ctx, from, key, s)
			if err != nil {
				b.add(s) // waits again
			}
			return err
		}
		if !s.first {
			g.Go(put)
			continue
		}
		if err := errors.Join(g.Wait(), put()); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return g.Wait()
		}
	}
}

// sync makes the whole bucket right.
func (b *board) sync(ctx context.Context, from instances) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	bucket, err := kv.Fill(ctx, b.js, kv.Instances, kv.Options{Keeper: b.keeper}, func(have map[string][]byte) (map[string][]byte, error) {
		if err := from.Refresh(ctx); err != nil {
			return nil, err
		}
		all := from.Instances()
		want := make(map[string][]byte, len(all))
		for _, in := range all {
			key := routing.InstanceKey(in.Slug, in.ID)
			var err error
			if want[key], err = entry(from, in, have[key]); err != nil {
				return nil, err
			}
		}
		return want, nil
	})
	if err == nil {
		b.bucket = kv.NewWriter(bucket)
	}
	return err
}

// lost reports whether NATS has lost the bucket.
func (b *board) lost(ctx context.Context) bool {
	if !b.js.Conn().IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	whole, err := kv.Filled(ctx, b.js, kv.Instances, b.keeper.Seal())
	return err == nil && !whole
}

// entry is what the bucket is to hold of an instance, where it holds what another registry may have put.
func entry(from instances, in service.Instance, have []byte) ([]byte, error) {
	if is := decode(have); is.Generation > in.Generation || is.Generation == in.Generation && !from.Mine(in.ID) {
		return have, nil
	}
	return encode(in)
}

func (b *board) put(ctx context.Context, from instances, key string, s subject) error {
	ctx, cancel := context.WithTimeout(ctx, opTime)
	defer cancel()
	err := b.bucket.Write(ctx, key, func(have []byte) ([]byte, error) {
		in, ok := from.Instance(s.id)
		if have != nil && (!ok || in.Generation < decode(have).Generation) { // another registry may know better
			if err := from.Learn(ctx, s.id); err != nil {
				return nil, err
			}
			in, ok = from.Instance(s.id)
		}
		if !ok || in.Slug != s.slug {
			return nil, nil
		}
		return entry(from, in, have)
	})
	if err != nil {
		return fmt.Errorf("publish instance: %w", err)
	}
	return nil
}

func encode(in service.Instance) ([]byte, error) {
	return json.Marshal(routing.Instance{
		ID: in.ID, Slug: in.Slug, URL: in.URL.String(), Status: in.Status, Since: in.Since.UTC(), Generation: in.Generation,
	})
}

// decode reads what encode wrote. Anything else is as nothing: it is replaced.
func decode(b []byte) routing.Instance {
	var is routing.Instance
	if json.Unmarshal(b, &is) != nil {
		return routing.Instance{}
	}
	return is
}
