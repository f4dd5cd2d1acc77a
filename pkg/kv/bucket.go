package kv

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Buckets of the mesh, each with its owner.
const (
	Nodes       = "nodes"       // RPC nodes, each by its own process
	Keys        = "keys"        // public keys that sign tokens, by user-svc
	Permits     = "permits"     // who has which permission, by user-svc
	Revocations = "revocations" // tokens that are void before they expire, by user-svc
	Instances   = "instances"   // instances and their health, by registry-svc
	Routing     = "routing"     // the gateways' routing table, by proxy-svc
	Schemas     = "schemas"     // descriptors of events and services, by their publishers
)

// Options of a bucket.
type Options struct {
	TTL      time.Duration // how long an entry lives; 0 is for ever
	Replicas int           // of the stream; 0 is 1
}

// Open makes sure that a bucket exists, and gives it. Only its owner calls it.
func Open(ctx context.Context, js jetstream.JetStream, bucket string, o Options) (jetstream.KeyValue, error) {
	b, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, TTL: o.TTL, Replicas: max(o.Replicas, 1), History: 1, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	return b, nil
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key turns any text into a key that a bucket takes.
func Key(s string) string { return encoding.EncodeToString([]byte(s)) }

// Text gives the text that Key made a key of; it tells false for any other key.
func Text(key string) (string, bool) {
	b, err := encoding.DecodeString(key)
	return string(b), err == nil
}

// Sync makes a bucket's content equal to what its owner's database says: it puts what is missing or differs and
// deletes what is too much. Entries put by others between the owner's read and this call are the caller's business.
func Sync(ctx context.Context, b jetstream.KeyValue, want map[string][]byte) error {
	have, err := contents(ctx, b)
	if err != nil {
		return err
	}
	for k, v := range want {
		if old, ok := have[k]; ok && bytes.Equal(old, v) {
			continue
		}
		if _, err := b.Put(ctx, k, v); err != nil {
			return fmt.Errorf("put %s: %w", k, err)
		}
	}
	for k := range have {
		if _, ok := want[k]; ok {
			continue
		}
		if err := b.Delete(ctx, k); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("delete %s: %w", k, err)
		}
	}
	return nil
}

func contents(ctx context.Context, b jetstream.KeyValue) (map[string][]byte, error) {
	w, err := b.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", b.Bucket(), err)
	}
	defer func() { _ = w.Stop() }()
	have := map[string][]byte{}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("read bucket %s: the connection was lost", b.Bucket())
			}
			if e == nil {
				return have, nil
			}
			have[e.Key()] = e.Value()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
