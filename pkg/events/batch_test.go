package events_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
)

// TestBatchesKeepTheOrderWhileSomeAreTriedAgain has a batch done in part: what is left comes again before anything later.
func TestBatchesKeepTheOrderWhileSomeAreTriedAgain(t *testing.T) {
	nc, js, user := stream(t)
	about(t, nc, user, 0, 25)
	var mu sync.Mutex
	var got []string
	most, fails := 0, 3
	consume(t, js, events.ConsumerOptions{Tries: -1, Batch: 10, BatchWait: 10 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, len(records))
		results := make([]error, len(records))
		var wait error
		for i, r := range records {
			if r.ID == "e13" && fails > 0 {
				fails--
				wait = events.Later(errors.New("not yet"), time.Millisecond)
			}
			if results[i] = wait; wait == nil {
				got = append(got, r.ID)
			}
		}
		return results
	}})
	done := func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) }
	eventually(t, "all events are done", func() bool { return len(done()) >= 26 })
	if diff := cmp.Diff(ids(0, 25, 1), done()[1:]); diff != "" { // the first is there to bring the schema
		t.Error(diff)
	}
	if most > 10 || most < 2 {
		t.Errorf("batches have up to %d events", most)
	}
}

// TestOneOfABatchIsBuried has one event refused for good and one that can't be decoded: the others are done.
func TestOneOfABatchIsBuried(t *testing.T) {
	nc, js, user := stream(t)
	about(t, nc, user, 0, 3)
	publish(t, nc, message("unreadable", nil, user))
	about(t, nc, user, 3, 5)
	var got seen
	consume(t, js, events.ConsumerOptions{Batch: 100, BatchWait: 10 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		results := make([]error, len(records))
		for i, r := range records {
			if r.ID == "e1" {
				results[i] = events.Permanent(errors.New("refused"))
				continue
			}
			got.add(r)
		}
		return results
	}})
	eventually(t, "the others are done", func() bool { return len(got.of("even")) == 3 && len(got.of("odd")) == 1 })
	why := map[string]string{}
	eventually(t, "two are dead letters", func() bool {
		letters, err := events.DeadLetters(t.Context(), js, "basket-svc")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range letters {
			why[l.ID] = l.Why
		}
		return len(letters) == 2
	})
	if why["e1"] != "refused" || why["unreadable"] == "" {
		t.Errorf("dead letters are %v", why)
	}
}

func TestABatchThatPanicsOrMiscountsIsTriedAgain(t *testing.T) {
	nc, js, user := stream(t)
	about(t, nc, user, 0, 2)
	var got seen
	calls := 0
	consume(t, js, events.ConsumerOptions{Tries: -1, Batch: 100, BatchWait: 50 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		switch calls++; calls {
		case 1:
			panic("wrong")
		case 2:
			return make([]error, len(records)+1)
		}
		for _, r := range records {
			got.add(r)
		}
		return nil
	}})
	eventually(t, "all events are done", func() bool { return len(got.of("even")) == 1 && len(got.of("odd")) == 1 })
}

// TestLargeEventsInHandAreBounded has more bytes of events than a process may hold wait for one that can't be done.
func TestLargeEventsInHandAreBounded(t *testing.T) {
	nc, js, user := stream(t)
	const events100k = 600
	data, err := proto.Marshal(&accounts.Event{Type: accounts.EventType_EVENT_TYPE_ACCOUNT_CHANGED, ActorId: strings.Repeat("x", 100_000)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events100k {
		publish(t, nc, message(fmt.Sprint("e", i), func(m *nats.Msg) {
			m.Data = data
			m.Header.Set("ce-dataschema", schema(t).Hash)
			m.Header.Set("ce-subject", "large")
		}, user))
	}
	var got seen
	release := make(chan struct{})
	consume(t, js, events.ConsumerOptions{Tries: -1, Batch: 500, BatchWait: 10 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		results := make([]error, len(records))
		for i, r := range records {
			select {
			case <-release:
				got.add(r)
			default:
				results[i] = errors.New("not yet")
			}
		}
		return results
	}})
	pending := func() (limit, n int) {
		c, err := js.Consumer(t.Context(), events.Stream, "basket-svc")
		if err != nil {
			return 0, 0 // it isn't there yet
		}
		return c.CachedInfo().Config.MaxAckPending, c.CachedInfo().NumAckPending
	}
	eventually(t, "no more events are asked for", func() bool { limit, _ := pending(); return limit > 0 && limit < 1000 })
	if limit, n := pending(); n >= events100k || n*len(data) > 60<<20 {
		t.Errorf("%d events are in hand, and may be %d", n, limit)
	}
	close(release)
	eventually(t, "all events are done", func() bool { return len(got.of("large")) == events100k })
	eventually(t, "small events are asked for as ever", func() bool {
		publish(t, nc, message(rand.Text(), func(m *nats.Msg) { m.Header.Set("ce-dataschema", schema(t).Hash) }, user))
		limit, _ := pending()
		return limit == 1000
	})
	if diff := cmp.Diff(ids(0, events100k, 1), got.of("large")); diff != "" {
		t.Error(diff)
	}
}

// TestABatchOfAProcessThatIsCutOffComesInOrder has a process lose its connection for good, with a batch that it can't do.
func TestABatchOfAProcessThatIsCutOffComesInOrder(t *testing.T) {
	nc, js, user := stream(t)
	cut, lost := another(t, nc)
	var got seen
	stuck, again := make(chan struct{}), 0
	consume(t, cut, events.ConsumerOptions{Tries: -1, Batch: 5, BatchWait: 10 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		results := make([]error, len(records))
		for i, r := range records {
			if r.ID == "e7" || i > 0 && results[i-1] != nil {
				results[i] = errors.New("not here")
				continue
			}
			got.add(r)
		}
		if results[0] != nil {
			if again++; again == 1 { // what was done before it is acknowledged
				close(stuck)
			}
		}
		return results
	}})
	about(t, nc, user, 0, 20)
	select {
	case <-stuck:
	case <-time.After(30 * time.Second):
		t.Fatal("no batch is stuck")
	}
	lost.Close()
	about(t, nc, user, 20, 30)
	consume(t, js, events.ConsumerOptions{Batch: 5, BatchWait: 10 * time.Millisecond, HandleBatch: func(_ context.Context, records []events.Record) []error {
		for _, r := range records {
			got.add(r)
		}
		return nil
	}})
	first := func(key string) (ids []string) { // what was done and could not be acknowledged comes again
		for _, id := range got.of(key) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	eventually(t, "all events are done", func() bool { return len(first("even")) >= 15 && len(first("odd")) >= 15 })
	for key, want := range map[string][]string{"even": ids(0, 30, 2), "odd": ids(1, 30, 2)} {
		if diff := cmp.Diff(want, first(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}
