package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// seen are the events that handlers have done, by their key, in order.
type seen struct {
	mu  sync.Mutex
	ids map[string][]string
}

func (s *seen) add(r events.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string][]string{}
	}
	s.ids[r.Subject] = append(s.ids[r.Subject], r.ID)
}

func (s *seen) of(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.ids[key]...)
}

// consume runs a consumer until the test ends, or stop is called.
func consume(t *testing.T, js jetstream.JetStream, o events.ConsumerOptions) (stop func()) {
	t.Helper()
	o.Name, o.Topics = "basket-svc", []string{accounts.Topic}
	o.FirstRetry, o.LastRetry, o.Patience = time.Millisecond, 20*time.Millisecond, time.Second
	c, err := events.NewConsumer(verifier(t, js, nil).Verifier, slog.New(slog.NewTextHandler(t.Output(), nil)), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: %s", what)
		}
	}
}

// stream is that of events, with a publisher whose key is known.
func stream(t *testing.T) (*nats.Conn, jetstream.JetStream, *events.Signer) {
	t.Helper()
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	user := signer(t, "user-svc", 1)
	announce(t, js, user)
	db := outbox(t)
	relay(t, db, js) // puts the schema in place
	enqueue(t, db, 0, 1)
	tail(t, js, 1)
	return nc, js, user
}

// about publishes events with the ids from.. to about one of two keys.
func about(t *testing.T, nc *nats.Conn, by *events.Signer, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		publish(t, nc, message(fmt.Sprint("e", i), func(m *nats.Msg) {
			m.Header.Set("ce-subject", []string{"even", "odd"}[i%2])
			m.Header.Set("ce-dataschema", schema(t).Hash)
		}, by))
	}
}

func ids(from, to, step int) (out []string) {
	for i := from; i < to; i += step {
		out = append(out, fmt.Sprint("e", i))
	}
	return out
}

func TestEventsOfAKeyKeepTheirOrderWhileOneIsTriedAgain(t *testing.T) {
	nc, js, user := stream(t)
	about(t, nc, user, 0, 20)
	var got seen
	var mu sync.Mutex
	tries := map[string]int{}
	release := make(chan struct{})
	consume(t, js, events.ConsumerOptions{Tries: -1, Handle: func(_ context.Context, r events.Record) error {
		mu.Lock()
		tries[r.ID]++
		mu.Unlock()
		if r.ID == "e0" {
			select {
			case <-release:
			default:
				return errors.New("not yet")
			}
		}
		got.add(r)
		return nil
	}})
	eventually(t, "events of another key wait for one that fails", func() bool { return len(got.of("odd")) == 10 })
	eventually(t, "it is tried again", func() bool { mu.Lock(); defer mu.Unlock(); return tries["e0"] > 3 })
	if early := got.of("even"); len(early) > 0 {
		t.Errorf("events %v went before one that came first", early)
	}
	close(release)
	eventually(t, "events of the key go on", func() bool { return len(got.of("even")) == 10 })
	for key, want := range map[string][]string{"even": ids(0, 20, 2), "odd": ids(1, 20, 2)} {
		if diff := cmp.Diff(want, got.of(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}

// TestAnotherProcessGoesOnInOrder has the first one stop in the middle, with events in hand.
func TestAnotherProcessGoesOnInOrder(t *testing.T) {
	nc, js, user := stream(t)
	var got seen
	busy := make(chan struct{}, 1)
	stop := consume(t, js, events.ConsumerOptions{Tries: -1, Handle: func(_ context.Context, r events.Record) error {
		if r.ID == "e4" || r.ID == "e5" {
			select {
			case busy <- struct{}{}:
			default:
			}
			return errors.New("not here")
		}
		got.add(r)
		return nil
	}})
	about(t, nc, user, 0, 20)
	<-busy
	consume(t, js, events.ConsumerOptions{Handle: func(_ context.Context, r events.Record) error { got.add(r); return nil }})
	stop()
	about(t, nc, user, 20, 30)
	eventually(t, "all events are done", func() bool { return len(got.of("even")) >= 15 && len(got.of("odd")) >= 15 })
	for key, want := range map[string][]string{"even": ids(0, 30, 2), "odd": ids(1, 30, 2)} {
		if diff := cmp.Diff(want, got.of(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}

func TestDeadLettersAreKeptAndGivenBack(t *testing.T) {
	nc, js, user := stream(t)
	about(t, nc, user, 0, 4)
	publish(t, nc, message("garbage", func(m *nats.Msg) { m.Data = []byte("\xff"); m.Header.Set("ce-dataschema", schema(t).Hash) }, user))
	publish(t, nc, message("forged", nil, signer(t, "user-svc", 9)))
	var got seen
	var healed sync.Map
	consume(t, js, events.ConsumerOptions{Tries: 3, Handle: func(_ context.Context, r events.Record) error {
		if _, ok := healed.Load("yes"); !ok && r.ID == "e0" {
			return errors.New("not\r\ntoday")
		}
		if _, ok := healed.Load("yes"); !ok && r.ID == "e1" {
			return events.Permanent(errors.New("never"))
		}
		got.add(r)
		return nil
	}})
	var letters []events.DeadLetter
	eventually(t, "three dead letters", func() (ok bool) {
		var err error
		if letters, err = events.DeadLetters(t.Context(), js, "basket-svc"); err != nil {
			t.Fatal(err)
		}
		return len(letters) == 3
	})
	by := map[string]events.DeadLetter{}
	for _, l := range letters {
		by[l.ID] = l
	}
	if l := by["e0"]; l.Tries != 3 || l.Why != "not today" || l.Topic != "accounts" || l.Key != "even" {
		t.Errorf("of what failed: %+v", l)
	}
	if l := by["e1"]; l.Tries != 1 || l.Why != "never" {
		t.Errorf("of what failed for good: %+v", l)
	}
	if l := by["garbage"]; l.Why == "" {
		t.Errorf("of what nobody can decode: %+v", letters)
	}
	healed.Store("yes", true)
	for want := range 2 { // there is nothing to be given back twice
		n, err := events.Replay(t.Context(), js, "basket-svc", "e0")
		if err != nil || n != 1-want {
			t.Errorf("given back %d: %v", n, err)
		}
	}
	eventually(t, "the event is done", func() bool { return len(got.of("even")) == 2 })
	if diff := cmp.Diff([]string{"e2", "e0"}, got.of("even")); diff != "" {
		t.Error(diff)
	}
	if left, err := events.DeadLetters(t.Context(), js, ""); err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestAnEventIsAppliedOnce(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		for range 2 {
			if err := sqldb.MigrateConsumed(t.Context(), db); err != nil {
				t.Fatal(err)
			}
		}
		runs := 0
		once := func(id string, fails error) (bool, error) {
			return events.Once(t.Context(), db, "basket-svc", id, func(*sqldb.Tx) error { runs++; return fails })
		}
		mine := errors.New("mine")
		if applied, err := once("1", mine); applied || !errors.Is(err, mine) {
			t.Errorf("what failed: %v, %v", applied, err)
		}
		if applied, err := once("1", nil); !applied || err != nil {
			t.Errorf("after it has failed: %v, %v", applied, err)
		}
		before := runs
		if applied, err := once("1", nil); applied || err != nil || runs != before {
			t.Errorf("again: %v, %v, %d runs", applied, err, runs-before)
		}
		if _, err := once("", nil); err == nil {
			t.Error("an event without an id is applied")
		}
		if err := db.ForgetConsumed(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if applied, err := once("1", nil); !applied || err != nil {
			t.Errorf("after the note is gone: %v, %v", applied, err)
		}
	})
}

// another is a connection that can be lost.
func another(t *testing.T, nc *nats.Conn) (jetstream.JetStream, *nats.Conn) {
	t.Helper()
	lost, err := nats.Connect(nc.ConnectedUrl())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lost.Close)
	js, err := jetstream.New(lost)
	if err != nil {
		t.Fatal(err)
	}
	return js, lost
}

// TestEventsOfAProcessThatIsCutOffComeInOrder has a process lose its connection for good, with events in hand.
func TestEventsOfAProcessThatIsCutOffComeInOrder(t *testing.T) {
	nc, js, user := stream(t)
	cut, lost := another(t, nc)
	var got seen
	var stuck sync.Map
	consume(t, cut, events.ConsumerOptions{Tries: -1, Handle: func(_ context.Context, r events.Record) error {
		if r.ID == "e4" || r.ID == "e5" {
			stuck.Store(r.ID, true)
			return errors.New("not here")
		}
		got.add(r)
		return nil
	}})
	about(t, nc, user, 0, 20)
	for _, id := range []string{"e4", "e5"} {
		eventually(t, id+" is in hand", func() bool { _, ok := stuck.Load(id); return ok })
	}
	lost.Close()
	about(t, nc, user, 20, 30)
	consume(t, js, events.ConsumerOptions{Handle: func(_ context.Context, r events.Record) error { got.add(r); return nil }})
	eventually(t, "all events are done", func() bool { return len(got.of("even")) >= 15 && len(got.of("odd")) >= 15 })
	for key, want := range map[string][]string{"even": ids(0, 30, 2), "odd": ids(1, 30, 2)} {
		if diff := cmp.Diff(want, got.of(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
}
