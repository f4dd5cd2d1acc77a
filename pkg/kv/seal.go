package kv

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Owner returns the slug of the service that seals the entries of a bucket: all of them, or in [Nodes] those of guests. It is empty for
// buckets without seals.
func Owner(bucket string) string {
	switch bucket {
	case Keys, Permits, Accounts, Revocations:
		return "user-svc"
	case Instances, Nodes:
		return "registry-svc"
	case Routing:
		return "proxy-svc"
	}
	return ""
}

// Seal seals entries, and opens those that the owner of a bucket has sealed. A login on NATS is not enough to write an entry that counts: the
// server checks the subject of a request, but not that of its reply. Its methods are safe for concurrent use.
type Seal interface {
	// Sign seals an entry. The number is the revision that the entry replaces. An empty value is a deletion.
	Sign(at Place, number uint64, value []byte) ([]byte, error)
	// Open returns what the owner of a bucket has sealed. Errors: [*UnknownSealError]; any other means that the owner hasn't sealed it.
	Open(at Place, sealed []byte) (Opened, error)
	// Voucher returns the proof that this process's service seals with its key, and the key's id.
	Voucher() (id string, voucher []byte, err error)
	// Learn takes up a voucher of the owner of a bucket.
	Learn(bucket string, voucher []byte) error
	// Refused reports that an entry was refused.
	Refused(bucket, key string, why error)
}

// Place is the place of an entry.
type Place struct {
	Bucket string
	Made   time.Time // when the bucket was made: entries of a bucket that was lost are void in the next one
	Key    string
}

// Opened is a sealed entry without its seal.
type Opened struct {
	Value  []byte
	Number uint64
	Own    bool // this process's service has sealed it, with the key that it has now
}

// UnknownSealError means that an entry is sealed with a key for which no voucher was seen.
type UnknownSealError struct{ ID string }

// Error implements error.
func (e *UnknownSealError) Error() string { return "no voucher is known for the key of its seal" }

var (
	errReplayed = errors.New("it is older than the entry that it replaces")
	errNotOwn   = errors.New("it is sealed with another key")
	errShape    = errors.New("a deletion has no value, and anything else has one")
)

// sealKey precedes an id in the reserved keys that hold vouchers.
const sealKey = "_seal."

// reserved reports whether a key holds no entry.
func reserved(key string) bool { return key == markKey || strings.HasPrefix(key, sealKey) }

// isVoucher returns the id of a key that holds a voucher.
func isVoucher(key string) (id string, ok bool) { return strings.CutPrefix(key, sealKey) }

// voucherOf reads the voucher with an id.
type voucherOf func(ctx context.Context, id string) ([]byte, error)

func vouchersOf(bucket string, s jetstream.Stream) voucherOf {
	return func(ctx context.Context, id string) ([]byte, error) {
		c, err := last(ctx, s, bucket, sealKey+id)
		if c == nil && err == nil {
			err = jetstream.ErrKeyNotFound
		}
		if err != nil {
			return nil, err
		}
		return c.value, nil
	}
}

// openOnce opens an entry, and looks for the voucher if it isn't known.
func openOnce(ctx context.Context, seal Seal, voucher voucherOf, at Place, raw []byte) (Opened, error) {
	o, err := seal.Open(at, raw)
	unknown, ok := errors.AsType[*UnknownSealError](err)
	if !ok {
		return o, err
	}
	v, missing := voucher(ctx, unknown.ID)
	switch {
	case errors.Is(missing, jetstream.ErrKeyNotFound), errors.Is(missing, jetstream.ErrInvalidKey):
		return Opened{}, err
	case missing != nil:
		return Opened{}, &unreadError{fmt.Errorf("read voucher of bucket %s: %w", at.Bucket, missing)}
	}
	if wrong := seal.Learn(at.Bucket, v); wrong != nil {
		return Opened{}, errors.Join(err, wrong)
	}
	return seal.Open(at, raw)
}

// unreadError means that NATS didn't answer.
type unreadError struct{ error }

// report reports a refused entry, unless NATS alone is to blame.
func report(seal Seal, bucket, key string, why error) {
	if _, unread := errors.AsType[*unreadError](why); !unread {
		seal.Refused(bucket, key, why)
	}
}

// change is an update of a bucket.
type change struct {
	key      string
	value    []byte
	revision uint64
	number   uint64 // of its seal
	own      bool   // this service has sealed it
	deleted  bool
	refused  error // why it doesn't count
}

// changeOf takes up an update of a bucket without seals.
func changeOf(e jetstream.KeyValueEntry) change {
	return change{key: e.Key(), value: e.Value(), revision: e.Revision(), deleted: e.Operation() != jetstream.KeyValuePut}
}

// opened returns the change without its seal, or refused.
func (c change) opened(o Opened, err error) change {
	if err == nil && c.deleted != (len(o.Value) == 0) {
		err = errShape
	}
	c.value, c.number, c.own, c.refused = o.Value, o.Number, o.Own, err
	return c
}

// chain holds the revisions of a bucket's entries. Each seal names the revision that its entry replaces, and the owner writes by compare and
// swap: so an entry was replayed if it names a revision older than the last one seen.
type chain map[string]uint64

// follows reports whether an entry is no replay, and remembers it.
func (c chain) follows(key string, number, revision uint64) bool {
	seen := c[key]
	if revision != seen && number < seen {
		return false
	}
	c[key] = max(revision, seen)
	return true
}

// each calls work with each index below n, on all cores where there are many.
func each(n int, work func(i int)) {
	const few = 32
	workers := min(runtime.GOMAXPROCS(0), n/few)
	if workers < 2 {
		for i := range n {
			work(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				work(i)
			}
		})
	}
	wg.Wait()
}

// Lookup returns an entry of a bucket, or nil if it doesn't exist. With a seal, it fails if the owner hasn't written what is there.
func Lookup(ctx context.Context, js jetstream.JetStream, bucket, key string, seal Seal) ([]byte, error) {
	s, err := js.Stream(ctx, stream(bucket))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	c, err := last(ctx, s, bucket, key)
	if c == nil || err != nil {
		return nil, err
	}
	if seal != nil {
		o, err := openOnce(ctx, seal, vouchersOf(bucket, s), Place{bucket, s.CachedInfo().Created, key}, c.value)
		*c = c.opened(o, err)
	}
	switch {
	case c.refused != nil:
		report(seal, bucket, key, c.refused)
		return nil, fmt.Errorf("%s of bucket %s is refused: %w", key, bucket, c.refused)
	case c.deleted:
		return nil, nil
	}
	return append([]byte{}, c.value...), nil
}

// Opener returns a function that fails for entries of a bucket that the owner hasn't written. Without a seal it accepts everything.
func Opener(ctx context.Context, js jetstream.JetStream, bucket string, seal Seal) (func(ctx context.Context, e jetstream.KeyValueEntry) error, error) {
	if seal == nil {
		return func(context.Context, jetstream.KeyValueEntry) error { return nil }, nil
	}
	s, err := js.Stream(ctx, stream(bucket))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	return func(ctx context.Context, e jetstream.KeyValueEntry) error {
		c := changeOf(e)
		o, err := openOnce(ctx, seal, vouchersOf(bucket, s), Place{bucket, s.CachedInfo().Created, c.key}, c.value)
		if c = c.opened(o, err); c.refused != nil {
			report(seal, bucket, c.key, c.refused)
		}
		return c.refused
	}, nil
}

// last returns what was written last under a key, as it is in the bucket, deletions too; nil where that is nothing.
func last(ctx context.Context, s jetstream.Stream, bucket, key string) (*change, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject(bucket, key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // nothing is there, which is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of bucket %s: %w", key, bucket, err)
	}
	gone := m.Header.Get(operation) != "" || m.Header.Get(jetstream.MarkerReasonHeader) != ""
	return &change{key: key, value: m.Data, revision: m.Sequence, deleted: gone}, nil
}

// operation is the header of what a deletion leaves.
const (
	operation = "KV-Operation"
	deletion  = "DEL"
)

func subject(bucket, key string) string { return "$KV." + bucket + "." + key }
