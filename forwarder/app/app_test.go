package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"micromesh/forwarder/app"
	"micromesh/forwarder/targettest"
	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/host"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// newHost is that of a process on a NATS server of the test.
func newHost(t *testing.T, srv *natstest.Server) *host.Host {
	t.Helper()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	nc, _ := srv.Connect()
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// quick are settings that don't let a test wait.
func quick(to *targettest.Server) app.Config {
	return app.Config{
		Target: "mixpanel", URL: to.URL(), Token: "token", Gzip: true, Batch: 20, Wait: 20 * time.Millisecond, Timeout: 3 * time.Second, MaxRetry: 50 * time.Millisecond,
	}
}

// forward runs a forwarder until the test ends, or stop is called.
func forward(t *testing.T, h *host.Host, cfg app.Config) (stop func()) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }() // it gives none
	once := false
	stop = func() {
		if cancel(); !once {
			<-done
			_ = a.Close()
		}
		once = true
	}
	t.Cleanup(stop)
	return stop
}

// publisher is a service that publishes events of one topic, until the test ends.
type publisher struct {
	topic string
	db    *sqldb.DB
}

func publish(t *testing.T, h *host.Host, slug, topic string, file protoreflect.FileDescriptor) publisher {
	t.Helper()
	schema, err := events.NewSchema(topic, file)
	if err != nil {
		t.Fatal(err)
	}
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	if err := sqldb.MigrateOutbox(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); events.NewRelay(db, h.JS, h.Signer(slug), h.Logger, schema).Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return publisher{topic, db}
}

func (p publisher) send(t *testing.T, key string, e proto.Message) (id string) {
	t.Helper()
	m, err := events.NewMessage(p.topic, key, time.Now(), e)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.db.Write(t.Context(), func(tx *sqldb.Tx) error { return tx.Enqueue(t.Context(), m) }); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// changed is an event of an account, which says how many of the account went before it.
func changed(n int) *accounts.Event {
	return &accounts.Event{Type: accounts.EventType_EVENT_TYPE_ACCOUNT_CHANGED, ActorId: fmt.Sprint(n)}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: %s", what)
		}
	}
}

// value gives the sum of a metric, of those of its series that have a label's value, or all where it is empty.
func value(t *testing.T, h *host.Host, name, label string) (sum float64) {
	t.Helper()
	all, err := h.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestEveryEventArrivesOnceInOrder has a target fail in each way, go away, and come back.
func TestEveryEventArrivesOnceInOrder(t *testing.T) {
	h, to := newHost(t, natstest.Start(t)), targettest.Start(t)
	users := publish(t, h, accounts.Owner, accounts.Topic, accounts.File_accounts_events_proto)
	cfg := quick(to)
	cfg.Timeout = time.Second
	stop := forward(t, h, cfg)
	const keys = 5
	want := map[string][]string{}
	send := func(from, to int) {
		for i := from; i < to; i++ {
			key := fmt.Sprint("account-", i%keys)
			users.send(t, key, changed(i/keys))
			want[key] = append(want[key], fmt.Sprint(i/keys))
		}
	}
	arrived := func(n int) func() bool { return func() bool { return len(to.Once()) == n } }
	to.Fail(targettest.Broken, targettest.None, targettest.Busy, targettest.Hang, targettest.Login, targettest.Cut, targettest.None, targettest.Cut)
	send(0, 100)
	eventually(t, "all arrive at a target that fails", func() bool { return arrived(100)() && to.Failing() == 0 })
	to.Down()
	send(100, 150)
	eventually(t, "it is tried while the target is away", func() bool { return value(t, h, "mesh_forward_failures_total", "unreachable") > 5 })
	if age := value(t, h, "mesh_forward_oldest_seconds", ""); age <= 0 {
		t.Errorf("the oldest event waits for %v s", age)
	}
	stop() // it is restarted while the target is away
	forward(t, h, cfg)
	to.Up()
	eventually(t, "all arrive at a target that comes back", arrived(150))
	eventually(t, "nothing is left", func() bool {
		return value(t, h, "mesh_forward_oldest_seconds", "") == 0
	})
	got := map[string][]string{}
	for _, e := range to.Once() {
		key := fmt.Sprint(e.Fields["distinct_id"])
		got[key] = append(got[key], fmt.Sprint(e.Fields["actorId"]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(to.Received()); n == 150 {
		t.Error("nothing came twice: no connection was cut after its events were read")
	}
	if letters, err := events.DeadLetters(t.Context(), h.JS, app.Name); err != nil || len(letters) > 0 {
		t.Errorf("dead letters %v, %v", letters, err)
	}
}

// build makes what a publisher was built with, which nothing in this program was: a topic of orders.
func build(t *testing.T, types []string, fields ...string) protoreflect.FileDescriptor {
	t.Helper()
	text := func(name string, n int) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: new(name), Number: new(int32(n)), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	kind := text("type", 1)
	kind.Type, kind.TypeName = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), new(".shop.EventType")
	order := text("order", 2)
	order.Type, order.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), new(".shop.Order")
	enum := &descriptorpb.EnumDescriptorProto{Name: new("EventType")}
	for i, name := range append([]string{"UNSPECIFIED"}, types...) {
		enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: new("EVENT_TYPE_" + name), Number: new(int32(i))})
	}
	orders := &descriptorpb.DescriptorProto{Name: new("Order")}
	for i, name := range fields {
		orders.Field = append(orders.Field, text(name, i+1))
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("shop/events.proto"), Package: new("shop"), Syntax: new("proto3"), EnumType: []*descriptorpb.EnumDescriptorProto{enum},
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Event"), Field: []*descriptorpb.FieldDescriptorProto{kind, order}}, orders},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// ordered is an event of a build, in which each field of the order says its own name.
func ordered(file protoreflect.FileDescriptor, kind protoreflect.EnumNumber) proto.Message {
	m := dynamicpb.NewMessage(file.Messages().ByName("Event"))
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("type"), protoreflect.ValueOfEnum(kind))
	order := m.Mutable(fields.ByName("order")).Message()
	for i := range order.Descriptor().Fields().Len() {
		f := order.Descriptor().Fields().Get(i)
		order.Set(f, protoreflect.ValueOfString("the "+string(f.Name())))
	}
	return m
}

// TestAForwarderOfAnOlderBuildNamesNewTopicsTypesAndFields has two builds of a service publish, which the forwarder has heard of
// neither at its build nor at its start.
func TestAForwarderOfAnOlderBuildNamesNewTopicsTypesAndFields(t *testing.T) {
	h, to := newHost(t, natstest.Start(t)), targettest.Start(t)
	forward(t, h, quick(to))
	old, newer := build(t, []string{"ORDERED"}, "id"), build(t, []string{"ORDERED", "SENT_BACK"}, "id", "sent_back_by")
	id := publish(t, h, "shop-svc", "shop-svc", old).send(t, "order-1", ordered(old, 1))
	eventually(t, "the old build's event arrives", func() bool { return len(to.Once()) == 1 })
	publish(t, h, "shop-svc", "shop-svc", newer).send(t, "order-1", ordered(newer, 2))
	eventually(t, "the newer build's event arrives", func() bool { return len(to.Once()) == 2 })
	got := to.Once()
	if got[0].ID != id || got[0].Name != "shop-svc.ORDERED" || got[0].Fields["order.id"] != "the id" || got[0].Fields["type"] != "EVENT_TYPE_ORDERED" {
		t.Errorf("the old build's event is %v", got[0])
	}
	if got[1].Name != "shop-svc.SENT_BACK" || got[1].Fields["order.sentBackBy"] != "the sent_back_by" || got[1].Fields["topic"] != "shop-svc" {
		t.Errorf("the newer build's event is %v", got[1])
	}
	eventually(t, "both are counted", func() bool { return value(t, h, "mesh_forwarded_events_total", "shop-svc") == 2 })
}

func TestTopicsCanBeChosen(t *testing.T) {
	h, to := newHost(t, natstest.Start(t)), targettest.Start(t)
	file := build(t, []string{"ORDERED"}, "id")
	shop, other := publish(t, h, "shop-svc", "shop-svc", file), publish(t, h, "other-svc", "other-svc", file)
	other.send(t, "1", ordered(file, 1))
	cfg := quick(to)
	cfg.Target, cfg.Token, cfg.Topics = "cloudevents", "bearer", []string{"shop-svc"}
	forward(t, h, cfg)
	var want []string
	for range 3 {
		want = append(want, shop.send(t, "1", ordered(file, 1)))
	}
	eventually(t, "events of the topic arrive", func() bool { return len(to.Once()) == len(want) })
	var got []string
	for _, e := range to.Once() {
		got = append(got, e.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v arrived, not %v", got, want)
	}
	if r := to.Last(); r.Header.Get("Authorization") != "Bearer bearer" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json; charset=utf-8" {
		t.Errorf("the request has %v", r.Header)
	}
}
