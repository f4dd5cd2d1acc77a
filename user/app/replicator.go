package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/auth"
	"micromesh/pkg/kv"
	"micromesh/user/service"
)

// Times of the replication.
const (
	slugTimeout      = 300 * time.Millisecond // of what a call waits for its slug, which is published again if that fails
	replicateTimeout = 2 * time.Second        // of what a call waits for at most, with the wait below
	startTimeout     = 5 * time.Second        // at the start, until this process knows what was put
	seenTimeout      = 1 * time.Second        // until this process knows what it has put
	syncTimeout      = 10 * time.Second       // of a full comparison
	syncInterval     = 30 * time.Second       // between full comparisons
	firstRetry       = 100 * time.Millisecond
	lastRetry        = 2 * time.Second
)

// replicator keeps three buckets equal to what the database says: keys, permits and revocations. What a call has changed it
// puts at once; everything is compared at the start, after a failure, after a reconnect, and now and then.
type replicator struct {
	js     jetstream.JetStream
	nats   *nats.Conn
	state  *auth.State
	reader service.Reader
	source source // set before anything is called
	keeper *kv.Keeper
	log    *slog.Logger

	slugs   *slugs
	started atomic.Bool // until then, what changes is left to start

	locks map[string]*sync.Mutex // by bucket, each held while the bucket is written
	dirty chan struct{}          // signalled when a full comparison is due
}

// source gives all that is to be replicated. A *service.Service does.
type source interface {
	PublishedKeys(ctx context.Context) ([]service.PublishedKey, error)
	AllPermits(ctx context.Context) ([]service.Permit, error)
	Revocations(ctx context.Context) (sessions []string, lost []service.LostRole, err error)
}

var _ service.Replica = (*replicator)(nil)

func newReplicator(js jetstream.JetStream, nc *nats.Conn, state *auth.State, reader service.Reader, keeper *kv.Keeper, log *slog.Logger) *replicator {
	r := &replicator{js: js, nats: nc, state: state, reader: reader, keeper: keeper, log: log, locks: map[string]*sync.Mutex{}, dirty: make(chan struct{}, 1)}
	for _, bucket := range buckets() {
		r.locks[bucket] = &sync.Mutex{}
	}
	return r
}

// buckets are filled in this order. No caller is let in without keys: so they come last, after the revocations.
func buckets() []string { return []string{kv.Revocations, kv.Permits, kv.Keys} }

// entries is what the buckets should hold, by bucket and key.
type entries map[string]map[string][]byte

// load reads all of it from the database.
func (r *replicator) load(ctx context.Context) (entries, error) {
	all := entries{kv.Keys: {}, kv.Permits: {}, kv.Revocations: {}}
	keys, err := r.source.PublishedKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for _, k := range keys {
		all[kv.Keys][k.ID] = encodeKey(k)
	}
	permits, err := r.source.AllPermits(ctx)
	if err != nil {
		return nil, fmt.Errorf("read permits: %w", err)
	}
	for _, p := range permits {
		all[kv.Permits][kv.Key(p.ID)] = encodePermit(p)
	}
	sessions, lost, err := r.source.Revocations(ctx)
	if err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	for _, id := range sessions {
		all[kv.Revocations][auth.SessionKey(id)] = encode(auth.Revocation{})
	}
	for user, r := range lostBy(lost) {
		all[kv.Revocations][auth.UserKey(user)] = encode(r)
	}
	return all, nil
}

func encodeKey(k service.PublishedKey) []byte {
	return encode(auth.Key{ID: k.ID, PEM: k.Public, Current: k.Current})
}

func encodePermit(p service.Permit) []byte {
	return encode(auth.Permit{AppID: p.AppID, Permission: p.Permission, Roles: p.Roles, Slugs: p.Slugs})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // these types always marshal
	}
	return b
}

// start gives this process what the database says, and puts it into the buckets. Where NATS is away that is left to run:
// the service can answer without it.
func (r *replicator) start(ctx context.Context) error {
	r.started.Store(true)
	all, err := r.load(ctx)
	if err != nil {
		return err
	}
	if err := r.restore(all); err != nil {
		return err
	}
	if err := r.sync(ctx); err != nil {
		r.log.Warn("replication_waits", "error", err)
		r.soon()
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := r.state.WaitReady(wait); err != nil {
		r.log.Warn("replication_waits", "error", err)
	}
	return nil
}

// restore seeds this process's state, until the buckets are read.
func (r *replicator) restore(all entries) error {
	saved := auth.Saved{Keys: map[string]*auth.Key{}, Permits: map[string]*auth.Permit{}, Revocations: map[string]*auth.Revocation{}}
	return errors.Join(
		decodeAll(all[kv.Keys], saved.Keys), decodeAll(all[kv.Permits], saved.Permits), decodeAll(all[kv.Revocations], saved.Revocations),
		r.state.Restore(saved))
}

func decodeAll[T any](from map[string][]byte, to map[string]*T) error {
	for k, b := range from {
		v := new(T)
		if err := json.Unmarshal(b, v); err != nil {
			return err
		}
		to[k] = v
	}
	return nil
}

// sync makes the buckets equal to the database.
func (r *replicator) sync(ctx context.Context) error {
	ctx, end, err := kv.While(ctx, r.nats)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	for _, bucket := range buckets() {
		if err := r.fill(ctx, bucket); err != nil {
			return err
		}
	}
	return nil
}

func (r *replicator) fill(ctx context.Context, bucket string) error {
	r.locks[bucket].Lock()
	defer r.locks[bucket].Unlock()
	_, err := kv.Fill(ctx, r.js, bucket, kv.Options{Keeper: r.keeper}, func(map[string][]byte) (map[string][]byte, error) {
		all, err := r.load(ctx)
		return all[bucket], err
	})
	return err
}

// lacking reports whether a bucket was lost. It must be filled immediately: revocations can't take effect without it.
func (r *replicator) lacking(ctx context.Context) bool {
	if !r.nats.IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	for _, bucket := range buckets() {
		if whole, err := kv.Filled(ctx, r.js, bucket, r.keeper.Seal()); err == nil && !whole {
			r.log.Warn("bucket_lost", "bucket", bucket)
			return true
		}
	}
	return false
}

// soon asks run for a full comparison.
func (r *replicator) soon() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// guards watch the buckets for what others write to them.
func (r *replicator) guards() (all []func(context.Context)) {
	for _, bucket := range buckets() {
		all = append(all, func(ctx context.Context) { r.keeper.Guard(ctx, r.js, bucket, r.log, r.soon) })
	}
	return append(all, func(ctx context.Context) { r.keeper.Guard(ctx, r.js, kv.Accounts, r.log, r.slugs.soon) })
}

// run compares everything when it is due, and again until it succeeds, until ctx ends.
func (r *replicator) run(ctx context.Context) {
	reconnected := r.nats.StatusChanged(nats.CONNECTED)
	defer r.nats.RemoveStatusListener(reconnected)
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	due, delay := time.NewTimer(syncInterval), time.Duration(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		case <-r.dirty:
		case <-reconnected:
		case <-look.C:
			if delay > 0 || !r.lacking(ctx) {
				continue
			}
		}
		err := r.sync(ctx)
		switch {
		case err == nil:
			delay = 0
		case ctx.Err() == nil:
			delay = min(max(2*delay, firstRetry), lastRetry)
			r.log.Warn("replication_waits", "error", err)
		}
		due.Reset(cmp.Or(delay, syncInterval))
	}
}

// Changed implements service.Replica.
func (r *replicator) Changed(ctx context.Context, c service.Changes) {
	if !r.started.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replicateTimeout)
	defer cancel()
	briefly, end := context.WithTimeout(ctx, slugTimeout)
	r.slugs.put(briefly, c.Slugs, c.Deleted)
	end()
	if err := r.put(ctx, c); err != nil {
		r.log.Warn("replication_waits", "error", err)
		r.soon()
	}
}

// put puts what was changed, and waits until this process has seen it.
func (r *replicator) put(ctx context.Context, c service.Changes) error {
	ctx, end, err := kv.While(ctx, r.nats)
	if err != nil {
		return err
	}
	defer end()
	want, err := r.write(ctx, c)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	for !r.seen(want) {
		select {
		case <-wait.Done():
			return errors.New("what was put is not seen yet")
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// write puts what the database says now of what was changed, and gives it; a nil value is an entry that must go.
func (r *replicator) write(ctx context.Context, c service.Changes) (entries, error) {
	want := entries{kv.Revocations: {}, kv.Permits: {}, kv.Keys: {}}
	put := func(bucket, key string, read func() ([]byte, error)) error {
		r.locks[bucket].Lock()
		defer r.locks[bucket].Unlock()
		b, err := r.keeper.Bucket(ctx, r.js, bucket)
		if err != nil {
			return err
		}
		want[bucket][key], err = kv.Write(ctx, b, key, func([]byte) ([]byte, error) { return read() })
		return err
	}
	if c.Keys {
		if err := r.writeKeys(ctx, put); err != nil {
			return nil, err
		}
	}
	for _, id := range c.Permits {
		if err := put(kv.Permits, kv.Key(id), func() ([]byte, error) { return r.permit(ctx, id) }); err != nil {
			return nil, err
		}
	}
	for _, id := range c.Sessions {
		if err := put(kv.Revocations, auth.SessionKey(id), func() ([]byte, error) { return encode(auth.Revocation{}), nil }); err != nil {
			return nil, err
		}
	}
	for _, id := range c.Users {
		if err := put(kv.Revocations, auth.UserKey(id), func() ([]byte, error) { return r.lost(ctx, id) }); err != nil {
			return nil, err
		}
	}
	return want, nil
}

// writeKeys puts the keys that there are. Those that were dropped are left to the full comparison.
func (r *replicator) writeKeys(ctx context.Context, put func(bucket, key string, read func() ([]byte, error)) error) error {
	r.soon()
	keys, err := r.source.PublishedKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		err := put(kv.Keys, k.ID, func() ([]byte, error) {
			now, err := r.source.PublishedKeys(ctx)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(now, func(n service.PublishedKey) bool { return n.ID == k.ID })
			if i < 0 {
				return nil, nil
			}
			return encodeKey(now[i]), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *replicator) permit(ctx context.Context, id string) ([]byte, error) {
	p, err := r.reader.Permit(ctx, id)
	if errors.Is(err, service.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return encodePermit(p), nil
}

// lost is what a user's tokens have lost; nil where that is nothing.
func (r *replicator) lost(ctx context.Context, user string) ([]byte, error) {
	lost, err := r.reader.RolesLost(ctx, user)
	all := lostBy(lost)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return encode(all[user]), nil
}

// lostBy groups lost roles by account, without those that were granted again.
func lostBy(lost []service.LostRole) map[string]*auth.Revocation {
	by := map[string]*auth.Revocation{}
	for _, l := range lost {
		if l.Back {
			continue
		}
		if by[l.UserID] == nil {
			by[l.UserID] = &auth.Revocation{}
		}
		by[l.UserID].Lose(l.Role, l.AppID, l.At)
	}
	return by
}

// seen tells whether this process decides by what was put.
func (r *replicator) seen(want entries) bool {
	now := r.state.Save()
	return holds(now.Keys, want[kv.Keys]) && holds(now.Permits, want[kv.Permits]) && holds(now.Revocations, want[kv.Revocations])
}

func holds[T any](have map[string]*T, want map[string][]byte) bool {
	for key, value := range want {
		v, ok := have[key]
		if ok != (value != nil) || (ok && !slices.Equal(encode(v), value)) {
			return false
		}
	}
	return true
}
