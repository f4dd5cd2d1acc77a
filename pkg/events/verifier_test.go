package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/secret"
)

// signer is that of a service whose secret key is made of one byte.
func signer(t *testing.T, slug string, key byte) *events.Signer {
	t.Helper()
	return vouchedSigner(t, slug, key, nil)
}

func vouchedSigner(t *testing.T, slug string, key byte, v events.Voucher) *events.Signer {
	t.Helper()
	box, err := secret.New(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return events.NewSigner(slug, box, v)
}

// counting is a verifier and its metrics.
type counting struct {
	*events.Verifier
	metrics *prometheus.Registry
}

func verifier(t *testing.T, js jetstream.JetStream, v events.Voucher) counting {
	t.Helper()
	metrics := prometheus.NewRegistry()
	return counting{events.NewVerifier(js, v, slog.New(slog.NewTextHandler(t.Output(), nil)), metrics), metrics}
}

// dropped gives how many events were dropped, by "<topic> <reason>".
func (c counting) dropped(t *testing.T) map[string]int {
	t.Helper()
	all, err := c.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, m := range all[0].GetMetric() {
		if n := int(m.GetCounter().GetValue()); n > 0 {
			counts[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = n // labels are sorted by name
		}
	}
	return counts
}

// message is an event of the user service with an id, after a change, signed.
func message(id string, change func(*nats.Msg), by *events.Signer) *nats.Msg {
	data, err := proto.Marshal(registered(id))
	if err != nil {
		panic(err) // it is no message
	}
	m := &nats.Msg{Subject: events.Subject(accounts.Topic), Data: data, Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {id}, "ce-source": {"/user-svc"}, "ce-type": {"micromesh.accounts.ACCOUNT_REGISTERED"}, "ce-subject": {id},
		"ce-time": {"2026-01-02T03:04:05Z"}, "ce-datacontenttype": {"application/protobuf"},
	}}
	if change != nil {
		change(m)
	}
	if by != nil {
		by.Sign(m)
	}
	return m
}

func publish(t *testing.T, nc *nats.Conn, m *nats.Msg) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// announce makes keys known.
func announce(t *testing.T, js jetstream.JetStream, signers ...*events.Signer) {
	t.Helper()
	for _, s := range signers {
		if err := s.Announce(t.Context(), js); err != nil {
			t.Fatal(err)
		}
	}
}

// received is the first message of the stream.
func received(t *testing.T, js jetstream.JetStream) jetstream.Msg {
	t.Helper()
	c, err := js.OrderedConsumer(t.Context(), events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestForgedEventsAreDroppedAndCounted(t *testing.T) {
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	user, registry := signer(t, "user-svc", 1), signer(t, "registry-svc", 2)
	basket := signer(t, "basket-svc", 3)
	announce(t, js, user, registry, basket)
	from := func(source string) func(*nats.Msg) {
		return func(m *nats.Msg) { m.Header.Set("ce-source", source) }
	}
	after := func(m *nats.Msg, change func(*nats.Msg)) *nats.Msg { change(m); return m }
	rows := []struct {
		name, reason string
		m            *nats.Msg
	}{
		{"another publisher", "publisher", message("1", from("/registry-svc"), registry)},
		{"a publisher of no name", "publisher", message("2", from(""), user)},
		{"the owner's name with more behind it", "publisher", message("3", from("/user-svc/"), user)},
		{"no signature", "unsigned", message("4", nil, nil)},
		{"a signature of another publisher", "key", message("5", nil, registry)},
		{"a key that was never announced", "key", message("6", nil, signer(t, "user-svc", 9))},
		{"a key of the same box, for another publisher", "key", message("7", nil, signer(t, "registry-svc", 1))},
		{"other data", "signature", after(message("8", nil, user), func(m *nats.Msg) { m.Data = append(m.Data, 8, 2) })},
		{"another id", "signature", after(message("9", nil, user), func(m *nats.Msg) { m.Header.Set("ce-id", "x") })},
		{"another subject", "signature", after(message("10", nil, user), func(m *nats.Msg) { m.Header.Set("ce-subject", "x") })},
		{"another type", "signature", after(message("11", nil, user), func(m *nats.Msg) { m.Header.Set("ce-type", "x") })},
		{"another time", "signature", after(message("12", nil, user), func(m *nats.Msg) { m.Header.Set("ce-time", "2026-01-02T03:04:06Z") })},
		{"another schema", "signature", after(message("13", nil, user), func(m *nats.Msg) { m.Header.Set("ce-dataschema", schema(t).Hash) })},
		{"what moved from one header to the next", "signature", after(message("14", nil, user), func(m *nats.Msg) {
			m.Header.Set("ce-subject", "1")
			m.Header.Set("ce-time", "42026-01-02T03:04:05Z")
		})},
		{"a malformed signature", "signature", after(message("15", nil, user), func(m *nats.Msg) { m.Header.Set("ce-signature", "x") })},
		{"a key that is a wildcard", "signature", after(message("16", nil, user), func(m *nats.Msg) {
			_, signature, _ := strings.Cut(m.Header.Get("ce-signature"), ".")
			m.Header.Set("ce-signature", "*."+signature)
		})},
		{"an event of another topic", "publisher", after(message("17", nil, user), func(m *nats.Msg) { m.Subject = events.Subject("basket-svc") })},
		{"an event of another topic, from its owner", "signature", after(message("18", from("/basket-svc"), basket), func(m *nats.Msg) {
			m.Subject = events.Subject("basket-svc")
		})},
	}
	want := map[string]int{}
	for _, r := range rows {
		publish(t, nc, r.m)
		want[strings.TrimPrefix(r.m.Subject, "events.")+" "+r.reason]++
	}
	publish(t, nc, message("the last", nil, user))
	v := verifier(t, js, nil)
	if got := tailIDs(t, v, "the last"); !slices.Equal(got, []string{"the last"}) {
		t.Errorf("events %v were delivered", got)
	}
	if got := v.dropped(t); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// tailIDs gives the ids of all events up to one.
func tailIDs(t *testing.T, v counting, last string) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := events.Tail(ctx, v.Verifier, events.TailOptions{Since: time.Hour}, func(r events.Record) error {
		if ids = append(ids, r.ID); r.ID == last {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("events %v, then %v", ids, err)
	}
	return ids
}

// TestTheSameEventThreeTimesIsOne replays a signed event: JetStream takes it, since nothing names it as the same.
func TestTheSameEventThreeTimesIsOne(t *testing.T) {
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	user := signer(t, "user-svc", 1)
	announce(t, js, user)
	for range 3 {
		publish(t, nc, message("again", nil, user))
	}
	publish(t, nc, message("the last", nil, user))
	v := verifier(t, js, nil)
	if got := tailIDs(t, v, "the last"); !slices.Equal(got, []string{"again", "the last"}) {
		t.Errorf("events %v were delivered", got)
	}
	if got := v.dropped(t)["accounts duplicate"]; got != 2 {
		t.Errorf("%d duplicates were counted", got)
	}
}

// TestEventsOfAnOlderKeyAreGood publishes with one key, then with another, as after the secret key was lost.
func TestEventsOfAnOlderKeyAreGood(t *testing.T) {
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	for key := byte(1); key <= 3; key++ {
		s := signer(t, "user-svc", key)
		announce(t, js, s)
		publish(t, nc, message(fmt.Sprint(key), nil, s))
	}
	if got := tailIDs(t, verifier(t, js, nil), "3"); len(got) != 3 {
		t.Errorf("events %v of 3 were delivered", got)
	}
}

// TestKeysMayNotTakeTheNameOfOthers has a bucket say of a key what it isn't.
func TestKeysMayNotTakeTheNameOfOthers(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	mine := signer(t, "user-svc", 1)
	publish(t, nc, message("1", nil, mine))
	announce(t, js, signer(t, "user-svc", 2))
	b, err := js.KeyValue(t.Context(), kv.Signers)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Get(t.Context(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	m := received(t, js)
	id, _, _ := strings.Cut(m.Headers().Get("ce-signature"), ".")
	v := verifier(t, js, nil)
	for name, value := range map[string][]byte{"another's key": other.Value(), "no key": []byte("{}"), "no JSON": {1}} {
		if _, err := b.Put(t.Context(), "user-svc."+id, value); err != nil {
			t.Fatal(err)
		}
		var dropped *events.DroppedError
		for deadline := time.Now().Add(10 * time.Second); dropped == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			_, err := v.Check(t.Context(), m) // the publisher has a moment to put its key right
			if err == nil {
				t.Fatalf("%s: the event is delivered", name)
			}
			dropped, _ = errors.AsType[*events.DroppedError](err)
		}
		if dropped == nil || dropped.Reason != events.ReasonKey {
			t.Errorf("%s: %v", name, dropped)
		}
	}
	announce(t, js, mine)
	if _, err := v.Check(t.Context(), m); err != nil {
		t.Errorf("the right key, once it is there: %v", err)
	}
}

// TestAKeyThatIsTakenAwayIsObeyed takes a publisher's key away in some ways; what it signs is dropped within 5 s. A key that is put there
// again soon after its bucket was lost drops nothing.
func TestAKeyThatIsTakenAwayIsObeyed(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	s := signer(t, "user-svc", 1)
	publish(t, nc, message("1", nil, s))
	announce(t, js, s)
	m := received(t, js)
	v := verifier(t, js, nil)
	check := func() (dropped bool) {
		_, err := v.Check(t.Context(), m)
		if _, dropped = errors.AsType[*events.DroppedError](err); err != nil && !dropped {
			t.Error(err)
		}
		return dropped
	}
	lose := func() {
		if err := js.DeleteKeyValue(t.Context(), kv.Signers); err != nil {
			t.Fatal(err)
		}
	}
	b, err := js.KeyValue(t.Context(), kv.Signers)
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(m.Headers().Get("ce-signature"), ".")
	for name, take := range map[string]func(){"deleted": func() { _ = b.Delete(t.Context(), "user-svc."+id) }, "lost": lose} {
		announce(t, js, s)
		if check() {
			t.Fatalf("%s: dropped before", name)
		}
		take()
		for began := time.Now(); !check(); {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("%s: still believed", name)
			}
			time.Sleep(10 * time.Millisecond) // between two events
		}
	}
	announce(t, js, s)
	if check() {
		t.Fatal("dropped before")
	}
	lose()
	back := time.AfterFunc(time.Second, func() { announce(t, js, s) })
	defer back.Stop()
	for began := time.Now(); time.Since(began) < 4500*time.Millisecond; time.Sleep(10 * time.Millisecond) { // longer than a missing key is believed
		if check() {
			t.Fatalf("dropped after %v", time.Since(began))
		}
	}
}

// TestKeysAreVouchedForByCertificates has somebody who may write any key, and has a certificate of another service.
func TestKeysAreVouchedForByCertificates(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	mesh, other := authority(t), authority(t)
	gateway := certificate(t, mesh, "gateway-svc")
	rows := []struct {
		name string
		v    events.Voucher
		good bool
	}{
		{"no certificate", nil, false},
		{"the certificate of another service", certificate(t, mesh, "registry-svc"), false},
		{"a certificate of another authority", certificate(t, other, "user-svc"), false},
		{"a proof of another key", replay{certificate(t, mesh, "user-svc")}, false},
		{"the publisher's certificate", certificate(t, mesh, "user-svc"), true},
	}
	for i, r := range rows {
		s := vouchedSigner(t, "user-svc", byte(i+1), r.v)
		announce(t, js, s)
		publish(t, nc, message(r.name, nil, s))
	}
	v := verifier(t, js, gateway)
	if got := tailIDs(t, v, rows[len(rows)-1].name); len(got) != 1 {
		t.Errorf("events signed with %q were delivered", got)
	}
	if got := v.dropped(t)["accounts key"]; got != len(rows)-1 {
		t.Errorf("%d events were dropped, want %d", got, len(rows)-1)
	}
}

// TestOverwrittenKeysDropNothing overwrites and deletes the key of a publisher, whose relay runs.
func TestOverwrittenKeysDropNothing(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t).Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	mesh := authority(t)
	s := vouchedSigner(t, "user-svc", 1, certificate(t, mesh, "user-svc"))
	announce(t, js, s)
	publish(t, nc, message("1", nil, s))
	m := received(t, js)
	id, _, _ := strings.Cut(m.Headers().Get("ce-signature"), ".")
	name := "user-svc." + id
	db := outbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	var relay sync.WaitGroup
	t.Cleanup(func() { cancel(); relay.Wait() })
	relay.Go(func() {
		events.NewRelay(db, js, s, slog.New(slog.NewTextHandler(t.Output(), nil))).Run(ctx)
	})
	b, err := js.KeyValue(t.Context(), kv.Signers)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	knows := verifier(t, js, certificate(t, mesh, "gateway-svc"))
	if _, err := knows.Check(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for what, value := range map[string]string{"no JSON": "x", "another key": `{"key":"AAAA"}`, "no proof": strings.Split(string(entry.Value()), `,"proof"`)[0] + "}", "nothing": ""} {
		if value == "" {
			err = b.Delete(t.Context(), name)
		} else {
			_, err = b.Put(t.Context(), name, []byte(value))
		}
		if err != nil {
			t.Fatal(err)
		}
		stranger := verifier(t, js, certificate(t, mesh, "gateway-svc"))
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until the relay has put it right
			_, known := knows.Check(t.Context(), m)
			_, strange := stranger.Check(t.Context(), m)
			if known != nil {
				t.Fatalf("%s: an event whose key was known is dropped: %v", what, known)
			}
			if _, dropped := errors.AsType[*events.DroppedError](strange); dropped && value != "" {
				t.Fatalf("%s: the event is dropped: %v", what, strange)
			}
			if now, err := b.Get(t.Context(), name); err == nil && strings.Contains(string(now.Value()), `"proof"`) && strange == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the key is not put right: %v", what, strange)
			}
		}
	}
}

// replay vouches for something else than it is asked to.
type replay struct{ *identity.Identity }

func (r replay) Vouch([]byte) ([]byte, error) { return r.Identity.Vouch([]byte("something else")) }

func authority(t *testing.T) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority("a mesh")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func certificate(t *testing.T, a *identity.Authority, slug string) *identity.Identity {
	t.Helper()
	dir := t.TempDir()
	cert, key, err := a.Sign(time.Hour, slug)
	if err != nil {
		t.Fatal(err)
	}
	ca, _, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	f := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for file, content := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: ca} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id, err := identity.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestWhatCantBeToldIsNotDropped checks an event while the keys can't be read.
func TestWhatCantBeToldIsNotDropped(t *testing.T) {
	srv := natstest.Start(t)
	nc, js := srv.Connect()
	if err := events.EnsureStream(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	user := signer(t, "user-svc", 1)
	announce(t, js, user)
	publish(t, nc, message("1", nil, user))
	m := received(t, js)
	v := verifier(t, js, nil)
	srv.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := v.Check(ctx, m)
	if _, dropped := errors.AsType[*events.DroppedError](err); err == nil || dropped {
		t.Errorf("without the keys: %v", err)
	}
	srv.Start()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) { // between two tries
		if _, err = v.Check(t.Context(), m); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with the keys: %v", err)
		}
	}
	srv.Stop()
	if _, err := v.Check(t.Context(), m); err != nil {
		t.Errorf("with keys that are known: %v", err)
	}
	if got := v.dropped(t); len(got) > 0 {
		t.Errorf("counted %v", got)
	}
}

// TestMadeUpTopicsDontFillTheMetrics drops events of more topics than a metric should name.
func TestMadeUpTopicsDontFillTheMetrics(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	v := verifier(t, js, nil)
	for i := range 300 {
		m := message("1", nil, nil)
		m.Subject = events.Subject(fmt.Sprint("topic-", i))
		if _, err := v.Check(t.Context(), inHand{m}); err == nil {
			t.Fatal("it is good")
		}
	}
	if n := len(v.dropped(t)); n > 101 {
		t.Errorf("there are %d series", n)
	}
	if got := v.dropped(t)["other publisher"]; got < 190 {
		t.Errorf("%d events count as others", got)
	}
}

// inHand is a message that came from no stream.
type inHand struct{ m *nats.Msg }

var errNoStream = errors.New("it came from no stream")

func (i inHand) Metadata() (*jetstream.MsgMetadata, error) { return nil, errNoStream }
func (i inHand) Data() []byte                              { return i.m.Data }
func (i inHand) Headers() nats.Header                      { return i.m.Header }
func (i inHand) Subject() string                           { return i.m.Subject }
func (i inHand) Reply() string                             { return "" }
func (i inHand) Ack() error                                { return errNoStream }
func (i inHand) DoubleAck(context.Context) error           { return errNoStream }
func (i inHand) Nak() error                                { return errNoStream }
func (i inHand) NakWithDelay(time.Duration) error          { return errNoStream }
func (i inHand) InProgress() error                         { return errNoStream }
func (i inHand) Term() error                               { return errNoStream }
func (i inHand) TermWithReason(string) error               { return errNoStream }

func TestOwners(t *testing.T) {
	for topic, want := range map[string]string{"accounts": "user-svc", "instances": "registry-svc", "routes": "proxy-svc", "basket-svc": "basket-svc"} {
		if got := events.Owner(topic); got != want {
			t.Errorf("the owner of %s is %s", topic, got)
		}
	}
}
