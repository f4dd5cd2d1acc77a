package kv

import (
	"bytes"
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// Writer writes to a bucket as [Write] does, and remembers what it has written: as long as nobody else writes a key, what is
// there need not be read before it is replaced. After a reconnect, when the bucket may be another one, another writer is due.
// It is safe for concurrent use.
type Writer struct {
	bucket jetstream.KeyValue

	mu      sync.Mutex
	written map[string]entry
}

// NewWriter makes a writer that has written nothing yet.
func NewWriter(b jetstream.KeyValue) *Writer { return &Writer{bucket: b, written: map[string]entry{}} }

// Write makes the value of a key what read gives for what is there, nil for none.
func (w *Writer) Write(ctx context.Context, key string, read func(have []byte) (want []byte, err error)) error {
	was := w.recall(key)
	want, err := read(was.value)
	if err != nil {
		return err
	}
	if !bytes.Equal(was.value, want) { // else only the bucket knows whether it is still there
		revision, ok, err := swap(ctx, w.bucket, key, was, want)
		if err != nil {
			return err
		}
		if ok {
			w.remember(key, entry{value: want, revision: revision})
			return nil
		}
	}
	now, err := write(ctx, w.bucket, key, read)
	if err != nil {
		return err
	}
	w.remember(key, now)
	return nil
}

func (w *Writer) recall(key string) entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written[key]
}

func (w *Writer) remember(key string, e entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.value == nil {
		delete(w.written, key)
		return
	}
	w.written[key] = e
}
