package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
)

// Times of the list of slugs. It is long, and nothing is ever removed from it: it is compared seldom.
const (
	slugsInterval = 10 * time.Minute
	slugsTimeout  = 2 * time.Minute
)

// slugs publishes every slug that an account or an organization has, or ever had, in the bucket [kv.Accounts], and which accounts were
// deleted. So others know which names are owned, without a list of them in memory.
type slugs struct {
	js    jetstream.JetStream
	nats  *nats.Conn
	store slugStore
	log   *slog.Logger
	dirty chan struct{}
}

// slugStore lists what slugs publishes.
type slugStore interface {
	Slugs(ctx context.Context) ([]string, error)
	DeletedSlugs(ctx context.Context) ([]string, error)
}

func newSlugs(js jetstream.JetStream, nc *nats.Conn, store slugStore, log *slog.Logger) *slugs {
	return &slugs{js: js, nats: nc, store: store, log: log, dirty: make(chan struct{}, 1)}
}

// soon asks run for a comparison.
func (s *slugs) soon() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// put publishes new slugs, and those of accounts that were deleted. A failure is left to run.
func (s *slugs) put(ctx context.Context, added, deleted []string) {
	keys := make([]string, 0, len(added)+len(deleted))
	for _, slug := range added {
		keys = append(keys, kv.Key(slug))
	}
	for _, slug := range deleted {
		keys = append(keys, kv.DeletedAccount(slug))
	}
	if len(keys) == 0 {
		return
	}
	ctx, end, err := kv.While(ctx, s.nats)
	if err == nil {
		defer end()
		err = s.write(ctx, keys)
	}
	if err != nil {
		s.log.Warn("slugs_wait", "error", err)
		s.soon()
	}
}

func (s *slugs) write(ctx context.Context, keys []string) error {
	b, err := s.js.KeyValue(ctx, kv.Accounts)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", kv.Accounts, err)
	}
	for _, key := range keys {
		if _, err := kv.Write(ctx, b, key, func([]byte) ([]byte, error) { return []byte("{}"), nil }); err != nil {
			return err
		}
	}
	return nil
}

// run keeps the bucket complete until ctx ends.
func (s *slugs) run(ctx context.Context) {
	reconnected := s.nats.StatusChanged(nats.CONNECTED)
	defer s.nats.RemoveStatusListener(reconnected)
	look := time.NewTicker(kv.Look)
	defer look.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	delay := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		case <-s.dirty:
		case <-reconnected:
		case <-look.C:
			if delay > 0 || !s.lost(ctx) {
				continue
			}
		}
		err := s.fill(ctx)
		switch {
		case err == nil:
			delay = 0
		case ctx.Err() == nil:
			delay = min(max(2*delay, firstRetry), lastRetry)
			s.log.Warn("slugs_wait", "error", err)
		}
		due.Reset(cmp.Or(delay, slugsInterval))
	}
}

// lost reports whether NATS has lost the bucket.
func (s *slugs) lost(ctx context.Context) bool {
	if !s.nats.IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	whole, err := kv.Filled(ctx, s.js, kv.Accounts)
	return err == nil && !whole
}

func (s *slugs) fill(ctx context.Context) error {
	ctx, end, err := kv.While(ctx, s.nats)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, slugsTimeout)
	defer cancel()
	_, err = kv.Fill(ctx, s.js, kv.Accounts, kv.Options{}, func(map[string][]byte) (map[string][]byte, error) {
		all, err := s.store.Slugs(ctx)
		if err != nil {
			return nil, fmt.Errorf("read slugs: %w", err)
		}
		deleted, err := s.store.DeletedSlugs(ctx)
		if err != nil {
			return nil, fmt.Errorf("read slugs: %w", err)
		}
		want := make(map[string][]byte, len(all)+len(deleted))
		for _, slug := range deleted {
			want[kv.DeletedAccount(slug)] = []byte("{}")
		}
		for _, slug := range all {
			want[kv.Key(slug)] = []byte("{}")
		}
		return want, nil
	})
	return err
}
