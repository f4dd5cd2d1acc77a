package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// markKey is where the owner of a bucket says that the bucket holds all entries, or not yet. It is no entry. Its values are no JSON,
// so that watchers of older versions leave them out. They name the time when the bucket was made: a mark that was meant for another
// bucket is none.
const markKey = "_filled"

func filling(created time.Time) []byte { return mark("filling", created) }

func filled(created time.Time) []byte { return mark("filled", created) }

func mark(state string, created time.Time) []byte {
	return []byte(state + " " + created.UTC().Format(time.RFC3339Nano))
}

// Fill makes a bucket's content what load returns, as [Sync] does, and marks it as whole: watchers of a bucket that was lost wait for
// that. The bucket is created where there is none, once load has succeeded. Only the bucket's owner calls Fill.
func Fill(ctx context.Context, js jetstream.JetStream, bucket string, o Options, load func(have map[string][]byte) (map[string][]byte, error)) (jetstream.KeyValue, error) {
	if _, err := js.KeyValue(ctx, bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
		if _, err := load(nil); err != nil {
			return nil, err
		}
	}
	b, err := Open(ctx, js, bucket, o)
	if err != nil {
		return nil, err
	}
	info, err := plainInfo(ctx, b)
	if err != nil {
		return nil, err
	}
	begin, end := filling(info.Created), filled(info.Created)
	is, err := Write(ctx, b, markKey, func(have []byte) ([]byte, error) {
		if string(have) == string(end) {
			return have, nil
		}
		return begin, nil
	})
	if err != nil {
		return nil, err
	}
	if err := Sync(ctx, b, load); err != nil {
		return nil, err
	}
	if string(is) == string(end) {
		return b, nil
	}
	_, err = Write(ctx, b, markKey, func([]byte) ([]byte, error) { return end, nil })
	return b, err
}

// Filled reports whether a bucket is there, and marked as whole: whether its owner need not fill it again.
func Filled(ctx context.Context, js jetstream.JetStream, bucket string) (bool, error) {
	s, err := js.Stream(ctx, stream(bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	is, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+markKey)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read mark of bucket %s: %w", bucket, err)
	}
	return string(is.Data) == string(filled(s.CachedInfo().Created)), nil
}

// Look is how often an owner looks whether its bucket is [Filled], and a watcher whether it is still the [Same].
const Look = 2 * time.Second

// stream is the name of a bucket's stream.
func stream(bucket string) string { return "KV_" + bucket }
