package kv

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Buckets of the mesh, each with its owner.
const (
	Nodes       = "nodes"       // RPC nodes, each by its own process
	Keys        = "keys"        // public keys that sign tokens, by user-svc
	Permits     = "permits"     // who has which permission, by user-svc
	Accounts    = "accounts"    // every slug that is owned, by user-svc; nobody holds all of it in memory
	Revocations = "revocations" // tokens that are void before they expire, by user-svc
	Instances   = "instances"   // instances and their health, by registry-svc
	Routing     = "routing"     // the gateways' routing table, by proxy-svc
	Schemas     = "schemas"     // descriptors of events and services, by their publishers
	Signers     = "signers"     // public keys that sign events, each by its publisher
)

// Options of a bucket.
type Options struct {
	TTL      time.Duration // how long an entry lives; 0 is for ever
	Replicas int           // of the stream; 0 is 1
}

// Open gives a bucket, created where there is none. Only its owner calls it. One that exists is not changed: who may change
// a stream may let it publish to subjects of others. One that does so is refused ([Plain]).
func Open(ctx context.Context, js jetstream.JetStream, bucket string, o Options) (jetstream.KeyValue, error) {
	b, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		b, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: bucket, TTL: o.TTL, Replicas: max(o.Replicas, 1), History: 1, Storage: jetstream.FileStorage,
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // somebody else was first
			b, err = js.KeyValue(ctx, bucket)
		}
	}
	if err == nil {
		err = PlainBucket(ctx, b)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	return b, nil
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key turns any text into a key that a bucket takes.
func Key(s string) string { return encoding.EncodeToString([]byte(s)) }

// Keys of the bucket Accounts beside those of slugs: one for each account that was deleted.
const (
	deletedAccount = "deleted."

	DeletedAccounts = deletedAccount + "*" // the pattern of all of them
)

// DeletedAccount returns the key that says that the account of a slug was deleted.
func DeletedAccount(slug string) string { return deletedAccount + Key(slug) }

// SlugOfDeleted returns the slug of a key that [DeletedAccount] made.
func SlugOfDeleted(key string) (slug string, ok bool) {
	key, ok = strings.CutPrefix(key, deletedAccount)
	if !ok {
		return "", false
	}
	return Text(key)
}

// Text gives the text that Key made a key of; it tells false for any other key.
func Text(key string) (string, bool) {
	b, err := encoding.DecodeString(key)
	return string(b), err == nil
}

// rounds bounds how often a write is tried again because others wrote meanwhile.
const rounds = 20

// yield lets others go first who write the same: at once after the first few rounds, then after longer and longer.
func yield(ctx context.Context, round int) error {
	const quick, longest = 3, 6 // rounds, and the power of two of milliseconds
	if round < quick {
		return ctx.Err()
	}
	timer := time.NewTimer(rand.N(time.Millisecond << min(round-quick, longest)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Write makes the value of a key what read gives, nil for none, and gives that. Read is told what the bucket holds. Its
// value is written only where nobody has written meanwhile; else both are read again. So of several processes that write
// what one database says, the last one writes what it says last.
func Write(ctx context.Context, b jetstream.KeyValue, key string, read func(have []byte) (want []byte, err error)) ([]byte, error) {
	e, err := write(ctx, b, key, read)
	return e.value, err
}

// write is Write, and gives the revision too, 0 for none.
func write(ctx context.Context, b jetstream.KeyValue, key string, read func(have []byte) (want []byte, err error)) (entry, error) {
	for round := range rounds {
		if err := yield(ctx, round); err != nil {
			return entry{}, err
		}
		have, revision, err := get(ctx, b, key)
		if err != nil {
			return entry{}, err
		}
		want, err := read(have)
		if err != nil {
			return entry{}, err
		}
		now, ok, err := swap(ctx, b, key, have, want, revision)
		if err == nil && ok && revision == 0 && want != nil {
			ok, err = still(want, read)
		}
		if ok || err != nil {
			return entry{want, now}, err
		}
	}
	return entry{}, fmt.Errorf("write %s to bucket %s: others write it all the time", key, b.Bucket())
}

// still reports whether an entry that was just created is still wanted. If it was deleted from the database meanwhile, the deletion
// may have found no entry in the bucket yet.
func still(created []byte, read func(have []byte) (want []byte, err error)) (bool, error) {
	want, err := read(created)
	return bytes.Equal(created, want), err
}

// WriteAll is Write for some keys at once: load gives the values of those that are to have one.
func WriteAll(ctx context.Context, b jetstream.KeyValue, keys []string, load func() (map[string][]byte, error)) error {
	for round := range rounds {
		if err := yield(ctx, round); err != nil {
			return err
		}
		have := make(map[string]entry, len(keys))
		for _, k := range keys {
			value, revision, err := get(ctx, b, k)
			if err != nil {
				return err
			}
			have[k] = entry{value, revision}
		}
		want, err := load()
		if err != nil {
			return err
		}
		if ok, err := replace(ctx, b, have, want); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("write to bucket %s: others write it all the time", b.Bucket())
}

// entry is what a bucket holds under a key; revision 0 is nothing.
type entry struct {
	value    []byte
	revision uint64
}

func get(ctx context.Context, b jetstream.KeyValue, key string) (value []byte, revision uint64, err error) {
	e, err := b.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of bucket %s: %w", key, b.Bucket(), err)
	}
	return e.Value(), e.Revision(), nil
}

// swap replaces a value if its revision is still the same, 0 for none, and tells whether it is as wanted now, and the revision
// that it has.
func swap(ctx context.Context, b jetstream.KeyValue, key string, have, want []byte, revision uint64) (now uint64, ok bool, err error) {
	switch {
	case want == nil && revision == 0, want != nil && revision != 0 && bytes.Equal(have, want):
		return revision, true, nil
	case want == nil:
		err = b.Delete(ctx, key, jetstream.LastRevision(revision))
	case revision == 0:
		now, err = b.Create(ctx, key, want)
	default:
		now, err = b.Update(ctx, key, want, revision)
	}
	if outrun(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("write %s to bucket %s: %w", key, b.Bucket(), err)
	}
	return now, true, nil
}

// outrun tells whether a write failed because somebody else wrote first.
func outrun(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// Sync makes a bucket's content equal to the result of load, whose argument is the present content. Missing and different entries are
// put, surplus ones deleted. As with Write, others may do the same, from the same database. The last round adds no entry.
func Sync(ctx context.Context, b jetstream.KeyValue, load func(have map[string][]byte) (map[string][]byte, error)) error {
	for round := range rounds {
		if err := yield(ctx, round); err != nil {
			return err
		}
		have, err := contents(ctx, b)
		if err != nil {
			return err
		}
		values := make(map[string][]byte, len(have))
		for k, e := range have {
			values[k] = e.value
		}
		want, err := load(values)
		if err != nil {
			return err
		}
		ok, err := replace(ctx, b, have, want)
		if err != nil {
			return err
		}
		if ok && !adds(have, want) {
			return nil
		}
	}
	return fmt.Errorf("write bucket %s: others write it all the time", b.Bucket())
}

// adds reports whether want has an entry that have lacks. Then another round is due, for the reason of still.
func adds(have map[string]entry, want map[string][]byte) bool {
	for k := range want {
		if have[k].revision == 0 {
			return true
		}
	}
	return false
}

const writers = 16 // entries that are written at the same time

// replace makes the entries of have what is wanted of them, and adds what have doesn't name. It tells false where others
// wrote meanwhile.
func replace(ctx context.Context, b jetstream.KeyValue, have map[string]entry, want map[string][]byte) (bool, error) {
	var outrun atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	write := func(key string) {
		if e := have[key]; e.revision != 0 && bytes.Equal(e.value, want[key]) && want[key] != nil {
			return
		}
		g.Go(func() error {
			_, ok, err := swap(ctx, b, key, have[key].value, want[key], have[key].revision)
			if !ok {
				outrun.Store(true)
			}
			return err
		})
	}
	for k := range want {
		write(k)
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			write(k)
		}
	}
	err := g.Wait()
	return err == nil && !outrun.Load(), err
}

func contents(ctx context.Context, b jetstream.KeyValue) (map[string]entry, error) {
	w, err := b.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", b.Bucket(), err)
	}
	defer func() { _ = w.Stop() }()
	have := map[string]entry{}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: the connection was lost", b.Bucket())
			}
			if e == nil {
				return have, nil
			}
			if e.Key() != markKey {
				have[e.Key()] = entry{e.Value(), e.Revision()}
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
