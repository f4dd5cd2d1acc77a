package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// How long the content of a bucket without a mark may change before it counts as whole.
const (
	settled  = time.Second     // without a change
	patience = 5 * time.Second // since its first entry
	unsaid   = time.Minute     // without a change, where the owner used to mark its buckets
)

// reading is one watch of a bucket:
//
//	snapshot ──▶ filling ──▶ whole
//	    └────────────────────▲
//
// The snapshot is the bucket's content when the watch began. A bucket is filling if its owner has not filled it yet, since it was wiped
// or is new. Until it is whole, the map holds the state of before with the bucket's entries above it: no entry is lost that the owner
// has not written yet. Once whole, the map equals the bucket.
type reading[V any] struct {
	m       *Map[V]
	bucket  jetstream.KeyValue
	created time.Time // of the bucket
	due     *time.Timer

	fresh    map[string]V // what the bucket holds
	snapshot bool         // it has not come whole yet
	whole    bool
	entries  int    // seen, deletions too
	mark     string // what the owner says; empty is nothing
	marked   uint64 // the revision of the mark
	first    time.Time
	missed   map[string]bool // ids of keys for whose seals there was no voucher
}

func newReading[V any](m *Map[V], bucket jetstream.KeyValue, info *jetstream.StreamInfo) *reading[V] {
	r := &reading[V]{
		m: m, bucket: bucket, created: info.Created, due: time.NewTimer(time.Hour), fresh: map[string]V{}, snapshot: true, missed: map[string]bool{},
	}
	if !m.made.Equal(info.Created) || info.State.LastSeq < m.highest { // it is another one, or was restored from a backup
		m.chain, m.made, m.highest = chain{}, info.Created, 0
	}
	r.due.Stop()
	return r
}

// errClosed means that a watcher ended by itself.
var errClosed = errors.New("the watcher was closed")

// takeUp takes up an update and all that wait behind it.
func (r *reading[V]) takeUp(ctx context.Context, e jetstream.KeyValueEntry, updates <-chan jetstream.KeyValueEntry) error {
	waiting, ended, closed := waitingBehind(e, updates)
	if ended {
		r.snapshot = false
	}
	changes, err := r.unseal(ctx, waiting)
	if err != nil {
		return err
	}
	changes, again := r.takeMarks(changes)
	r.count(changes)
	switch {
	case r.whole && again:
		return errGone
	case r.whole:
		r.m.publish(r.with(maps.Clone(r.m.Load()), changes))
	default:
		r.fresh = r.with(r.fresh, changes)
		r.advance(changes, ended)
	}
	if closed {
		return errClosed
	}
	return nil
}

// waitingBehind returns an update and all that wait behind it. It reports whether the snapshot ends there, with a nil update, and whether the
// watcher has ended.
func waitingBehind(e jetstream.KeyValueEntry, updates <-chan jetstream.KeyValueEntry) (all []jetstream.KeyValueEntry, ended, closed bool) {
	for {
		if e == nil {
			return all, true, false
		}
		if all = append(all, e); len(all) == batch {
			return all, false, false
		}
		var ok bool
		select {
		case e, ok = <-updates:
			if !ok {
				return all, false, true
			}
		default:
			return all, false, false
		}
	}
}

// errVouched means that a voucher has come for entries that were refused without it.
var errVouched = errors.New("a voucher was missing")

// unseal opens updates, and leaves out vouchers. What the owner has not written is refused.
func (r *reading[V]) unseal(ctx context.Context, updates []jetstream.KeyValueEntry) ([]change, error) {
	changes := make([]change, 0, len(updates))
	for _, e := range updates {
		r.m.highest = max(r.m.highest, e.Revision())
		id, voucher := isVoucher(e.Key())
		switch {
		case !voucher:
			changes = append(changes, changeOf(e))
		case r.m.seal != nil && r.m.seal.Learn(r.m.bucket, e.Value()) == nil && r.missed[id]:
			return nil, errVouched
		}
	}
	if r.m.seal == nil {
		return changes, nil
	}
	open := func(i int) {
		changes[i] = changes[i].opened(r.m.seal.Open(Place{r.m.bucket, r.created, changes[i].key}, changes[i].value))
	}
	sealed := make([][]byte, len(changes))
	for i, c := range changes {
		sealed[i] = c.value
	}
	each(len(changes), open)
	for i, c := range changes {
		if unknown, ok := errors.AsType[*UnknownSealError](c.refused); ok {
			changes[i].value = sealed[i]
			if err := r.vouch(ctx, unknown.ID); err != nil {
				return nil, err
			}
			open(i)
		}
		r.judge(&changes[i])
	}
	return changes, nil
}

// vouch looks for a voucher that the watch has not brought yet.
func (r *reading[V]) vouch(ctx context.Context, id string) error {
	if r.missed[id] {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, Look)
	defer cancel()
	e, err := r.bucket.Get(ctx, sealKey+id)
	switch {
	case err == nil && r.m.seal.Learn(r.m.bucket, e.Value()) == nil:
		return nil
	case err == nil, errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrInvalidKey):
	default:
		return fmt.Errorf("read voucher: %w", err)
	}
	if len(r.missed) < batch { // else they are made up
		r.missed[id] = true
	}
	return nil
}

// judge refuses a replayed change, and reports a refused one.
func (r *reading[V]) judge(c *change) {
	if c.refused == nil && !r.m.chain.follows(c.key, c.number, c.revision) {
		c.refused = errReplayed
	}
	if c.refused != nil {
		r.m.seal.Refused(r.m.bucket, c.key, c.refused)
	}
}

// takeMarks removes the owner's marks from changes, and reports whether there was one. Only owners of older versions, which know no
// marks, delete a mark.
func (r *reading[V]) takeMarks(changes []change) (others []change, marked bool) {
	return slices.DeleteFunc(changes, func(c change) bool {
		if c.key != markKey || c.refused != nil {
			return c.key == markKey
		}
		r.mark, r.marked = "", 0
		if r.m.marked = !c.deleted; r.m.marked {
			r.mark, r.marked = string(c.value), c.revision
			marked = true
		}
		return true
	}), marked
}

func (r *reading[V]) count(changes []change) {
	if r.entries == 0 {
		r.first = time.Now()
	}
	r.entries += len(changes)
}

// with applies changes to a map, and returns it.
func (r *reading[V]) with(s map[string]V, changes []change) map[string]V {
	for _, c := range changes {
		r.m.apply(s, c)
	}
	return s
}

// advance goes on to the next state, if it is time.
func (r *reading[V]) advance(changes []change, ended bool) {
	switch {
	case r.snapshot:
	case r.isWhole(ended):
		r.complete()
	case ended:
		r.fill(r.fresh, nil)
	default:
		r.fill(nil, changes)
	}
}

// isWhole reports whether the owner has filled the bucket. A snapshot without a mark counts as whole if the same bucket was whole
// before, or if no state is known that could be lost.
func (r *reading[V]) isWhole(snapshot bool) bool {
	switch {
	case r.mark != "":
		return r.mark == string(filled(r.created))
	case r.m.marked || !snapshot || r.entries == 0:
		return false
	}
	return !r.m.Known() || r.created.Equal(r.m.created)
}

// complete makes the map equal to the bucket.
func (r *reading[V]) complete() {
	r.due.Stop()
	r.whole = true
	r.m.created = r.created
	r.m.synced.Store(true)
	r.m.publish(r.fresh)
	r.m.confirm()
	r.fresh = nil
}

// fill publishes the known state with new entries above it, and sets the time at which a bucket without a mark counts as whole.
func (r *reading[V]) fill(all map[string]V, changes []change) {
	if len(all) > 0 || len(changes) > 0 {
		next := maps.Clone(r.m.Load())
		maps.Copy(next, all)
		r.m.publish(r.with(next, changes))
	}
	switch {
	case r.mark != "":
		r.due.Stop()
	case r.entries == 0 && r.m.Known(): // the owner has not begun to fill it
	case r.m.marked:
		r.due.Reset(unsaid)
	case r.entries == 0:
		r.due.Reset(settled)
	default:
		r.due.Reset(min(settled, time.Until(r.first.Add(patience))))
	}
}

// same fails if the bucket is not the one of the watch any more, or was purged: the consumer would wait forever. It returns false if
// NATS does not answer.
func (r *reading[V]) same(ctx context.Context, js jetstream.JetStream) (bool, error) {
	info, err := Same(ctx, js, r.m.bucket, r.created)
	if info == nil || err != nil {
		return false, err
	}
	if info.State.Msgs == 0 && r.entries > 0 || info.State.LastSeq < r.m.highest || r.marked > 0 && info.State.FirstSeq > r.marked {
		return false, errGone
	}
	return true, nil
}

// Same fails if a bucket is gone, or was not made at the given time: a watch of the former bucket would wait forever. It returns nil
// if NATS does not answer; a watch resumes by itself after an outage.
func Same(ctx context.Context, js jetstream.JetStream, bucket string, created time.Time) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, Look)
	defer cancel()
	s, err := js.Stream(ctx, stream(bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, nil // an outage is no failure here
	}
	info := s.CachedInfo()
	if !info.Created.Equal(created) {
		return nil, errGone
	}
	return info, nil
}
