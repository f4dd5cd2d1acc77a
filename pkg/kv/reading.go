package kv

import (
	"context"
	"errors"
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
	created time.Time // of the bucket
	due     *time.Timer

	fresh    map[string]V // what the bucket holds
	snapshot bool         // it has not come whole yet
	whole    bool
	entries  int    // seen, deletions too
	mark     string // what the owner says; empty is nothing
	marked   uint64 // the revision of the mark
	first    time.Time
}

func newReading[V any](m *Map[V], created time.Time) *reading[V] {
	r := &reading[V]{m: m, created: created, due: time.NewTimer(time.Hour), fresh: map[string]V{}, snapshot: true}
	r.due.Stop()
	return r
}

// errClosed means that a watcher ended by itself.
var errClosed = errors.New("the watcher was closed")

// takeUp takes up an update and all that wait behind it.
func (r *reading[V]) takeUp(e jetstream.KeyValueEntry, updates <-chan jetstream.KeyValueEntry) error {
	changes, closed := []jetstream.KeyValueEntry{e}, false
	for more := e != nil; more && len(changes) < batch; {
		select {
		case e, ok := <-updates:
			closed = !ok
			if more = ok && e != nil; ok {
				changes = append(changes, e)
			}
		default:
			more = false
		}
	}
	ended := !closed && changes[len(changes)-1] == nil // the snapshot, by a nil entry
	if ended {
		changes = changes[:len(changes)-1]
		r.snapshot = false
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

// takeMarks removes the owner's marks from changes, and reports whether there was one. Only owners of older versions, which know no
// marks, delete a mark.
func (r *reading[V]) takeMarks(changes []jetstream.KeyValueEntry) (others []jetstream.KeyValueEntry, marked bool) {
	return slices.DeleteFunc(changes, func(e jetstream.KeyValueEntry) bool {
		if e.Key() != markKey {
			return false
		}
		r.mark, r.marked = "", 0
		if r.m.marked = e.Operation() == jetstream.KeyValuePut; r.m.marked {
			r.mark, r.marked = string(e.Value()), e.Revision()
			marked = true
		}
		return true
	}), marked
}

func (r *reading[V]) count(changes []jetstream.KeyValueEntry) {
	if r.entries == 0 {
		r.first = time.Now()
	}
	r.entries += len(changes)
}

// with applies changes to a map, and returns it.
func (r *reading[V]) with(s map[string]V, changes []jetstream.KeyValueEntry) map[string]V {
	for _, e := range changes {
		r.m.apply(s, e)
	}
	return s
}

// advance goes on to the next state, if it is time.
func (r *reading[V]) advance(changes []jetstream.KeyValueEntry, ended bool) {
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
func (r *reading[V]) fill(all map[string]V, changes []jetstream.KeyValueEntry) {
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
	if info.State.Msgs == 0 && r.entries > 0 || r.marked > 0 && info.State.FirstSeq > r.marked {
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
