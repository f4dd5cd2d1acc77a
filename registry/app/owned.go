package app

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/host"
	"micromesh/pkg/ident"
	"micromesh/pkg/kv"
	"micromesh/registry/stock"
)

// owners tells which names are owned, by the slugs that user-svc publishes.
type owners struct{ js jetstream.JetStream }

// of returns the owner of a name. Names that differ from a slug only in the case of letters, or in `_` or `.` for `-`, are owned too.
func (o owners) of(ctx context.Context, name string) stock.Owner {
	switch {
	case ident.ReadsReserved(name):
		return stock.Mesh
	case ident.Slug(ident.Fold(name)) != nil:
		return stock.Nobody // no account can have it
	case !o.js.Conn().IsConnected():
		return stock.Unknown
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	b, err := o.js.KeyValue(ctx, kv.Accounts)
	if err != nil {
		return stock.Unknown
	}
	_, err = b.Get(ctx, kv.Key(ident.Fold(name)))
	switch {
	case err == nil:
		return stock.Account
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return stock.Unknown
	}
	if whole, err := kv.Filled(ctx, o.js, kv.Accounts); err != nil || !whole {
		return stock.Unknown
	}
	return stock.Nobody
}

// ownerOf returns a function that tells whose a name is. A name without an account belongs to whoever will have one, if a permit or a
// definition names it.
func (a *App) ownerOf(h *host.Host) func(ctx context.Context, name string) stock.Owner {
	accounts := owners{h.JS}
	return func(ctx context.Context, name string) stock.Owner {
		if o := accounts.of(ctx, name); o != stock.Nobody {
			return o
		}
		slug := ident.Fold(name)
		if h.Auth.Names(slug) {
			return stock.Account
		}
		switch defined, err := a.svc.Defined(ctx, slug); {
		case err != nil:
			return stock.Unknown
		case defined:
			return stock.Account
		}
		return stock.Nobody
	}
}

// follow calls taken with each slug that is added, until ctx ends.
func (o owners) follow(ctx context.Context, taken func()) {
	o.watching(ctx, func(ctx context.Context, b jetstream.KeyValue) (jetstream.KeyWatcher, error) {
		return b.WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly())
	}, func(jetstream.KeyValueEntry) { taken() })
}

// followDeleted calls deleted with the slug of each account that was deleted, until ctx ends. It calls it again after each time that it
// could have missed one.
func (o owners) followDeleted(ctx context.Context, deleted func(slug string, at time.Time)) {
	o.watching(ctx, func(ctx context.Context, b jetstream.KeyValue) (jetstream.KeyWatcher, error) {
		return b.Watch(ctx, kv.DeletedAccounts, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	}, func(e jetstream.KeyValueEntry) {
		if slug, ok := kv.SlugOfDeleted(e.Key()); ok {
			deleted(slug, e.Created())
		}
	})
}

// opener opens a watcher of the bucket.
type opener func(ctx context.Context, b jetstream.KeyValue) (jetstream.KeyWatcher, error)

// watching calls each with the entries of a watcher, which it opens again whenever it ends, until ctx ends.
func (o owners) watching(ctx context.Context, open opener, each func(jetstream.KeyValueEntry)) {
	for ctx.Err() == nil {
		if err := o.watch(ctx, open, each); err != nil && ctx.Err() == nil {
			timer := time.NewTimer(kv.Look)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
}

func (o owners) watch(ctx context.Context, open opener, each func(jetstream.KeyValueEntry)) error {
	opening, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	b, err := o.js.KeyValue(opening, kv.Accounts)
	if err != nil {
		return err
	}
	created, err := kv.Created(opening, b)
	if err != nil {
		return err
	}
	watching, end := context.WithCancel(ctx)
	defer end()
	w, err := open(watching, b)
	if err != nil {
		return err
	}
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watcher was closed")
			}
			if e != nil {
				each(e)
			}
		case <-look.C:
			if _, err := kv.Same(ctx, o.js, kv.Accounts, created); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
