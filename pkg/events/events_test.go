package events_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

func registered(id string) *accounts.Event {
	return &accounts.Event{
		Type:    accounts.EventType_EVENT_TYPE_ACCOUNT_REGISTERED,
		Account: &accounts.Account{Id: id, Slug: "slug-" + id},
		Payload: &accounts.Event_AccountRegistered{AccountRegistered: &accounts.AccountRegistered{Name: "N " + id}},
	}
}

func outbox(t *testing.T) *sqldb.DB {
	t.Helper()
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	if err := sqldb.MigrateOutbox(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

func enqueue(t *testing.T, db *sqldb.DB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		m, err := events.NewMessage(accounts.Topic, fmt.Sprint(i), time.Now(), registered(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Write(t.Context(), func(tx *sqldb.Tx) error { return tx.Enqueue(t.Context(), m) }); err != nil {
			t.Fatal(err)
		}
	}
}

func schema(t *testing.T) events.Schema {
	t.Helper()
	s, err := events.NewSchema(accounts.Topic, accounts.File_accounts_events_proto)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// relay runs a relay until the test ends, or stop is called.
func relay(t *testing.T, db events.Outbox, js jetstream.JetStream) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := events.NewRelay(db, js, signer(t, "user-svc", 1), slog.New(slog.NewTextHandler(t.Output(), nil)), schema(t))
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

var errEnough = errors.New("enough")

// tail reads n events from the beginning.
func tail(t *testing.T, js jetstream.JetStream, n int) (out []events.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := events.Tail(ctx, verifier(t, js, nil).Verifier, events.TailOptions{Topics: []string{accounts.Topic}, Since: time.Hour}, func(r events.Record) error {
		if out = append(out, r); len(out) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("%d events of %d, then %v", len(out), n, err)
	}
	return out
}

func subjects(records []events.Record) (out []string) {
	for _, r := range records {
		out = append(out, r.Subject)
	}
	return out
}

func numbers(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestEventsLeaveTheOutboxInOrderAndDecode(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	db := outbox(t)
	enqueue(t, db, 0, 3)
	relay(t, db, js)
	enqueue(t, db, 3, 5)
	got := tail(t, js, 5)
	if diff := cmp.Diff(numbers(5), subjects(got)); diff != "" {
		t.Error(diff)
	}
	r := got[0]
	if r.Type != "micromesh.accounts.ACCOUNT_REGISTERED" || r.Source != "/user-svc" || r.Topic != "accounts" || r.Problem != "" {
		t.Errorf("record is %+v", r)
	}
	want := &accounts.Event{}
	if err := protojson.Unmarshal(r.Data, want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(want, registered("0")) {
		t.Errorf("decoded %s", r.Data)
	}
}

// noSent is an outbox whose relay is killed between publishing and taking out.
type noSent struct{ *sqldb.DB }

func (noSent) Sent(context.Context, []string) error { return errors.New("killed") }

func TestEventOfAKilledRelayIsInTheStreamOnce(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	db := outbox(t)
	enqueue(t, db, 0, 2)
	stop := relay(t, noSent{db}, js)
	tail(t, js, 2)
	stop()
	relay(t, db, js)
	enqueue(t, db, 2, 3)
	if diff := cmp.Diff(numbers(3), subjects(tail(t, js, 3))); diff != "" {
		t.Errorf("an event came twice, or not at all: %s", diff)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		left, err := db.Pending(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still in the outbox: %v", left)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at the database
	}
}

func TestEventsWaitForNATS(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	db := outbox(t)
	relay(t, db, js)
	enqueue(t, db, 0, 1)
	tail(t, js, 1)
	srv.Stop()
	enqueue(t, db, 1, 3)
	srv.Start()
	if diff := cmp.Diff(numbers(3), subjects(tail(t, js, 3))); diff != "" {
		t.Error(diff)
	}
}

// TestSchemasComeBackWithoutAnEvent has NATS lose what it had while a relay has nothing to publish, and so sees no failure.
func TestSchemasComeBackWithoutAnEvent(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	db := outbox(t)
	enqueue(t, db, 0, 1)
	relay(t, db, js)
	tail(t, js, 1)
	srv.Stop()
	srv.Wipe()
	srv.Start()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		bucket, err := js.KeyValue(t.Context(), kv.Schemas)
		if err == nil {
			_, err = bucket.Get(t.Context(), schema(t).Hash)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the schema is not back: %v", err)
		}
	}
}

func TestEventsWithoutAUsableSchemaAreShownWithTheReason(t *testing.T) {
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	db := outbox(t)
	enqueue(t, db, 0, 1)
	relay(t, db, js)
	tail(t, js, 1)
	bucket, err := js.KeyValue(t.Context(), "schemas")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Put(t.Context(), "lies", schema(t).Set); err != nil {
		t.Fatal(err)
	}
	rows := []struct{ name, schema, data string }{
		{"no schema", "", "x"},
		{"unknown schema", "0000", "x"},
		{"schema that is not what its hash says", "lies", "x"},
		{"data that is not of the schema", schema(t).Hash, "\xff\xff\xff"},
		{"type that the schema doesn't have", schema(t).Hash, "\x08\xe7\x07"},
		{"field that the schema doesn't have", schema(t).Hash, "\xfa\x3e\x01x"},
		{"field within another", schema(t).Hash, "\x12\x04\xfa\x3e\x01x"},
		{"too big", schema(t).Hash, strings.Repeat("\x08\x01", 1<<20/2+1)},
	}
	for _, r := range rows {
		publish(t, nc, message(r.name, func(m *nats.Msg) {
			m.Data = []byte(r.data)
			m.Header.Set("ce-dataschema", r.schema)
		}, signer(t, "user-svc", 1)))
	}
	for name, header := range map[string][2]string{"another version": {"ce-specversion", "2.0"}, "another encoding": {"ce-datacontenttype", "application/json"}} {
		rows = append(rows, struct{ name, schema, data string }{name, "", ""})
		publish(t, nc, message(name, func(m *nats.Msg) { m.Header.Set(header[0], header[1]) }, signer(t, "user-svc", 1)))
	}
	enqueue(t, db, 1, 2)
	all := tail(t, js, 2+len(rows))
	if last := all[len(all)-1]; last.Problem != "" || last.Subject != "1" {
		t.Errorf("after them comes %+v", last)
	}
	for i, got := range all[1 : len(all)-1] {
		if got.ID != rows[i].name || got.Problem == "" || got.Data != nil {
			t.Errorf("%s: %+v; want a problem and no data", rows[i].name, got)
		}
	}
}

// TestALargeEventHoldsUpNoOther publishes an event that NATS doesn't take, as an older version has put into the outbox, and others after it.
func TestALargeEventHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	srv := natstest.Start(t)
	_, js := srv.Connect()
	db := outbox(t)
	large := func(n int) {
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO outbox (id, topic, key, type, payload, time) VALUES (?, ?, 'k', 'BIG', ?, 1)", "large", accounts.Topic, make([]byte, n))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	large(9 << 20) // NATS takes 8 MiB here
	enqueue(t, db, 1, 4)
	stop := relay(t, db, js)
	if got := tail(t, js, 3); got[0].Subject != "1" || got[2].Subject != "3" {
		t.Errorf("the events are %v", got)
	}
	var letters []events.DeadLetter
	eventually(t, "a dead letter names the event", func() bool {
		var err error
		letters, err = events.DeadLetters(t.Context(), js, "user-svc")
		return err == nil && len(letters) == 1
	})
	if l := letters[0]; l.ID != "large" || l.Type != "micromesh.accounts.BIG" && l.Type != "BIG" || !strings.Contains(l.Why, "NATS takes 8388608") {
		t.Errorf("the dead letter is %+v", l)
	}
	if n, err := events.Replay(t.Context(), js, "user-svc", ""); n != 0 || err != nil {
		t.Errorf("a letter without its event is given back: %d, %v", n, err)
	}
	stop()
	if n, err := db.Exhume(t.Context(), 10<<20); n != 1 || err != nil {
		t.Errorf("%d events are kept, %v", n, err)
	}
}
