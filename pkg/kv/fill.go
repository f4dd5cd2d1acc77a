package kv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// markKey is a reserved key: its owner marks a bucket as incomplete or complete under it. Its values are not JSON, so that watchers of
// older versions leave them out. They contain the time when the bucket was made: a mark of another bucket is void.
const markKey = "_filled"

func filling(created time.Time) []byte { return mark("filling", created) }

func filled(created time.Time) []byte { return mark("filled", created) }

func mark(state string, created time.Time) []byte {
	return []byte(state + " " + created.UTC().Format(time.RFC3339Nano))
}

// Fill makes a bucket's content equal to the result of load, as [Sync] does, and marks it as complete. Watchers of a bucket that was
// lost wait for the mark. A missing bucket is created once load has succeeded. Only the bucket's owner calls Fill.
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
	if err := o.Keeper.vouch(ctx, b); err != nil {
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

// Filled reports whether a bucket exists and is marked as complete. If not, its owner has to fill it. With a seal, a mark counts only if
// the owner has sealed it.
func Filled(ctx context.Context, js jetstream.JetStream, bucket string, seal Seal) (bool, error) {
	s, err := js.Stream(ctx, stream(bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	is, err := s.GetLastMsgForSubject(ctx, subject(bucket, markKey))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read mark of bucket %s: %w", bucket, err)
	}
	mark := is.Data
	if seal != nil {
		o, err := openOnce(ctx, seal, vouchersOf(bucket, s), Place{bucket, s.CachedInfo().Created, markKey}, mark)
		if _, unread := errors.AsType[*unreadError](err); unread {
			return false, err
		}
		mark = o.Value // none if others have written it
	}
	return string(mark) == string(filled(s.CachedInfo().Created)), nil
}

// Look is the interval at which owners check that their bucket is [Filled], and watchers that it is the [Same].
const Look = 2 * time.Second

// stream is the name of a bucket's stream.
func stream(bucket string) string { return "KV_" + bucket }

// ErrAway says that there is no connection to NATS.
var ErrAway = errors.New("there is no connection to NATS")

// While returns a context that ends when the connection to NATS is lost. Requests in flight get no answer then, and a retry after the
// reconnect need not wait for their timeout. The caller calls cancel.
//
// Errors: [ErrAway].
func While(ctx context.Context, nc *nats.Conn) (_ context.Context, cancel context.CancelFunc, err error) {
	lost := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	if !nc.IsConnected() {
		nc.RemoveStatusListener(lost)
		return nil, nil, ErrAway
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		defer nc.RemoveStatusListener(lost)
		select {
		case <-lost:
			end(ErrAway)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { end(nil) }, nil
}
