package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Keeper seals the entries of the buckets that a service owns. A nil keeper seals nothing, and guards nothing. Its methods are safe for
// concurrent use.
type Keeper struct {
	seal Seal

	mu      sync.Mutex
	chains  map[string]chain  // by bucket
	vouched map[string][]byte // the voucher that was put, by bucket
}

// NewKeeper makes a keeper that seals with a seal.
func NewKeeper(s Seal) *Keeper {
	return &Keeper{seal: s, chains: map[string]chain{}, vouched: map[string][]byte{}}
}

// Seal returns what the keeper seals with; nil of a nil keeper.
func (k *Keeper) Seal() Seal {
	if k == nil {
		return nil
	}
	return k.seal
}

// Bucket opens a bucket that exists, for [Write] and [WriteAll].
func (k *Keeper) Bucket(ctx context.Context, js jetstream.JetStream, bucket string) (jetstream.KeyValue, error) {
	b, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	return k.keeps(js, b), nil
}

func (k *Keeper) keeps(js jetstream.JetStream, b jetstream.KeyValue) jetstream.KeyValue {
	if k == nil {
		return b
	}
	return kept{KeyValue: b, js: js, keeper: k, handle: &handle{}}
}

// kept is a bucket whose entries are sealed by its owner.
type kept struct {
	jetstream.KeyValue
	js     jetstream.JetStream
	keeper *Keeper
	*handle
}

// handle is a bucket's stream, opened when it is first needed.
type handle struct {
	mu     sync.Mutex
	stream jetstream.Stream
}

func (b kept) open(ctx context.Context) (jetstream.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream != nil {
		return b.stream, nil
	}
	s, err := b.js.Stream(ctx, stream(b.Bucket()))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b.Bucket(), err)
	}
	b.stream = s
	return s, nil
}

// last returns what the bucket holds under a key.
func (b kept) last(ctx context.Context, key string) (entry, error) {
	s, err := b.open(ctx)
	if err != nil {
		return entry{}, err
	}
	c, err := last(ctx, s, b.Bucket(), key)
	if c == nil || err != nil {
		return entry{}, err
	}
	return b.keeper.entry(Place{b.Bucket(), s.CachedInfo().Created, key}, *c), nil
}

// write writes a sealed entry, or a sealed deletion where the value is nil, in the place of a revision.
func (b kept) write(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	now, err := b.publish(ctx, key, value, revision)
	if revision == 0 && outrun(err) {
		if hidden := b.hidden(ctx, key); hidden > 0 {
			return b.publish(ctx, key, value, hidden)
		}
	}
	return now, err
}

// hidden returns the revision of a foreign entry that looks to a request as if nothing were there: others choose its headers, and so the
// status of the answer. Otherwise it returns 0.
func (b kept) hidden(ctx context.Context, key string) uint64 {
	ctx, cancel := context.WithTimeout(ctx, Look)
	defer cancel()
	s, err := b.open(ctx)
	if err != nil {
		return 0
	}
	w, err := b.Watch(ctx, key)
	if err != nil {
		return 0
	}
	select {
	case e := <-w.Updates():
		if e == nil || !b.keeper.entry(Place{b.Bucket(), s.CachedInfo().Created, key}, changeOf(e)).foreign {
			return 0
		}
		return e.Revision()
	case <-ctx.Done():
		return 0
	}
}

// publish is write without regard for entries that can't be seen.
func (b kept) publish(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	s, err := b.open(ctx)
	if err != nil {
		return 0, err
	}
	m := nats.NewMsg(subject(b.Bucket(), key))
	if m.Data, err = b.keeper.seal.Sign(Place{b.Bucket(), s.CachedInfo().Created, key}, revision, value); err != nil {
		return 0, err
	}
	if value == nil {
		m.Header.Set(operation, deletion)
	}
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision))
	if err != nil {
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
			err = errors.Join(jetstream.ErrKeyRevisionMismatch, err)
		}
		return 0, err
	}
	b.keeper.wrote(b.Bucket(), key, ack.Sequence)
	return ack.Sequence, nil
}

// entries opens what the bucket holds. Without a keeper it is as it is.
func (b kept) entries(ctx context.Context, all []jetstream.KeyValueEntry) (map[string]entry, error) {
	have := make(map[string]entry, len(all))
	if b.keeper == nil {
		for _, e := range all {
			have[e.Key()] = entry{value: e.Value(), revision: e.Revision()}
		}
		return have, nil
	}
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	made, opened := s.CachedInfo().Created, make([]entry, len(all))
	each(len(all), func(i int) {
		opened[i] = b.keeper.entry(Place{b.Bucket(), made, all[i].Key()}, changeOf(all[i]))
	})
	for i, e := range all {
		have[e.Key()] = opened[i]
	}
	return have, nil
}

// entry opens what this service has sealed with the key that it has now. Anything else is foreign.
func (k *Keeper) entry(at Place, c change) entry {
	c = c.opened(k.seal.Open(at, c.value))
	if c.refused != nil || !c.own {
		return entry{revision: c.revision, deleted: c.deleted, foreign: true}
	}
	if c.deleted {
		return entry{revision: c.revision, deleted: true}
	}
	return entry{value: c.value, revision: c.revision}
}

func (k *Keeper) wrote(bucket, key string, revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.chains[bucket]; c != nil {
		c[key] = max(c[key], revision)
	}
}

// vouch makes sure that a bucket holds a good voucher for the key of its seals. Vouchers are made again now and then, so that none outlives
// the certificate.
func (k *Keeper) vouch(ctx context.Context, b jetstream.KeyValue) error {
	if k == nil {
		return nil
	}
	id, voucher, err := k.seal.Voucher()
	if err != nil {
		return err
	}
	k.mu.Lock()
	fresh := bytes.Equal(k.vouched[b.Bucket()], voucher)
	k.mu.Unlock()
	if fresh {
		e, err := b.Get(ctx, sealKey+id)
		if err == nil && k.seal.Learn(b.Bucket(), e.Value()) == nil {
			return nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("read voucher of bucket %s: %w", b.Bucket(), err)
		}
	}
	if _, err := b.Put(ctx, sealKey+id, voucher); err != nil {
		return fmt.Errorf("write voucher to bucket %s: %w", b.Bucket(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.vouched[b.Bucket()] = voucher
	return nil
}

// Times from a foreign entry to the comparison with the database: the first, and those while others go on writing.
const (
	firstAlarm = 100 * time.Millisecond
	lastAlarm  = time.Second
	calm       = 30 * time.Second
)

// Guard watches a bucket until ctx ends, and calls wrong when its owner must compare it with the database: after each time that the watch
// could have missed something, and when others have put, deleted or replayed an entry.
func (k *Keeper) Guard(ctx context.Context, js jetstream.JetStream, bucket string, log *slog.Logger, wrong func()) {
	if k == nil {
		return
	}
	for ctx.Err() == nil {
		err := k.watch(ctx, js, bucket, log, wrong)
		if ctx.Err() == nil && !errors.Is(err, errReconnected) && !errors.Is(err, errGone) {
			log.Warn("guard_interrupted", "bucket", bucket, "error", err)
		}
		pause(ctx, firstAlarm)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (k *Keeper) watch(ctx context.Context, js jetstream.JetStream, bucket string, log *slog.Logger, wrong func()) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	connected := js.Conn().StatusChanged(nats.CONNECTED)
	defer js.Conn().RemoveStatusListener(connected)
	w, made, err := k.begin(ctx, js, bucket)
	if err != nil {
		return err
	}
	look := time.NewTicker(Look)
	defer look.Stop()
	alarm := newAlarm()
	defer alarm.Stop()
	snapshot := true
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-connected:
			return errReconnected
		case <-alarm.C:
			wrong()
		case <-look.C:
			if _, err := Same(ctx, js, bucket, made); err != nil {
				return err
			}
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errClosed
			case e == nil:
				snapshot = false
				wrong()
			default:
				if err := k.check(Place{bucket, made, e.Key()}, changeOf(e), snapshot); err != nil {
					log.Debug("entry_is_foreign", "bucket", bucket, "key", e.Key(), "error", err)
					alarm.raise()
				}
			}
		}
	}
}

// begin opens a watch of a bucket.
func (k *Keeper) begin(ctx context.Context, js jetstream.JetStream, bucket string) (jetstream.KeyWatcher, time.Time, error) {
	opening, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, err := js.KeyValue(opening, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, time.Time{}, errGone
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	made, err := Created(opening, b)
	if err != nil {
		return nil, time.Time{}, err
	}
	k.mu.Lock()
	k.chains[bucket] = chain{}
	k.mu.Unlock()
	w, err := b.WatchAll(ctx)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("watch bucket %s: %w", bucket, err)
	}
	return w, made, nil
}

// check fails if an update is not one by a process of this service. Those of a snapshot are compared with the database anyway.
func (k *Keeper) check(at Place, c change, snapshot bool) error {
	if id, ok := isVoucher(at.Key); ok {
		own, _, err := k.seal.Voucher()
		if err != nil || id != own || snapshot {
			return err
		}
		return k.seal.Learn(at.Bucket, c.value)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if snapshot {
		k.chains[at.Bucket].follows(at.Key, c.revision, c.revision)
		return nil
	}
	c = c.opened(k.seal.Open(at, c.value))
	switch {
	case c.refused != nil:
		return c.refused
	case !c.own:
		return errNotOwn
	case !k.chains[at.Bucket].follows(at.Key, c.number, c.revision):
		return errReplayed
	}
	return nil
}

// alarm fires soon after it was raised, and later and later if it is raised all the time.
type alarm struct {
	*time.Timer
	gap  time.Duration
	last time.Time // when it will fire, or has
}

func newAlarm() *alarm {
	a := &alarm{Timer: time.NewTimer(time.Hour), gap: firstAlarm}
	a.Stop()
	return a
}

func (a *alarm) raise() {
	now := time.Now()
	if now.Before(a.last) {
		return
	}
	if now.Sub(a.last) > calm {
		a.gap = firstAlarm
	} else {
		a.gap = min(2*a.gap, lastAlarm)
	}
	a.last = now.Add(a.gap)
	a.Reset(a.gap)
}
