package kv_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/seal/sealtest"
	"micromesh/pkg/secret"
)

const sealed = kv.Permits // a bucket that user-svc owns

// owned is a bucket with its owner and a reader.
type owned struct {
	t      *testing.T
	js     jetstream.JetStream
	raw    jetstream.KeyValue // as NATS has it
	mesh   *identity.Authority
	box    *secret.Box
	keeper *kv.Keeper
	reader sealtest.Party

	mu    sync.Mutex
	want  map[string][]byte // what the database says
	fills atomic.Int64
}

func newOwned(t *testing.T, want map[string]string) *owned {
	t.Helper()
	_, js := natstest.Start(t).Connect()
	o := &owned{t: t, js: js, mesh: sealtest.Authority(t), box: sealtest.Box(t), want: raw(want)}
	o.keeper = kv.NewKeeper(sealtest.New(t, o.mesh, "user-svc", "user-svc", o.box))
	o.reader = sealtest.New(t, o.mesh, "gateway-svc", "gateway-svc", sealtest.Box(t))
	o.fill()
	var err error
	if o.raw, err = js.KeyValue(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *owned) database() map[string][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.want)
}

func (o *owned) fill() {
	o.t.Helper()
	o.fills.Add(1)
	_, err := kv.Fill(o.t.Context(), o.js, sealed, kv.Options{Keeper: o.keeper}, func(map[string][]byte) (map[string][]byte, error) { return o.database(), nil })
	if err != nil && o.t.Context().Err() == nil {
		o.t.Error(err)
	}
}

// set changes the database, and the bucket after it, as user-svc does; nil deletes.
func (o *owned) set(by *kv.Keeper, key string, value []byte) {
	o.t.Helper()
	o.mu.Lock()
	if o.want[key] = value; value == nil {
		delete(o.want, key)
	}
	o.mu.Unlock()
	b, err := by.Bucket(o.t.Context(), o.js, sealed)
	if err == nil {
		_, err = kv.Write(o.t.Context(), b, key, func([]byte) ([]byte, error) { return o.database()[key], nil })
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *owned) watch(t *testing.T, s kv.Seal) *kv.Map[string] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := kv.Watch(ctx, o.js, sealed, slog.New(slog.NewTextHandler(t.Output(), nil)), text, kv.SealedBy(s))
	t.Cleanup(func() { cancel(); m.Wait() })
	return m
}

// stored returns what the bucket holds under a key.
func (o *owned) stored(key string) []byte {
	o.t.Helper()
	e, err := o.raw.Get(o.t.Context(), key)
	if err != nil {
		o.t.Fatal(err)
	}
	return bytes.Clone(e.Value())
}

// inject publishes to the bucket what no login of a service may, but NATS does on behalf of one.
func (o *owned) inject(key string, value []byte, headers ...string) {
	o.t.Helper()
	m := nats.NewMsg("$KV." + sealed + "." + key)
	m.Data = value
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if _, err := o.js.PublishMsg(o.t.Context(), m); err != nil {
		o.t.Fatal(err)
	}
}

func texts(raw map[string][]byte) map[string]string {
	out := map[string]string{}
	for k, v := range raw {
		out[k] = string(v)
	}
	return out
}

// attacks are entries that others write to a bucket which holds a, b and not gone; a had the value "old" before.
func (o *owned) attacks(old, deleted []byte) map[string]func() {
	at := func(key string) kv.Place {
		info, err := o.js.Stream(o.t.Context(), "KV_"+sealed)
		if err != nil {
			o.t.Fatal(err)
		}
		return kv.Place{Bucket: sealed, Made: info.CachedInfo().Created, Key: key}
	}
	by := func(p sealtest.Party, place kv.Place) []byte {
		value, err := p.Sign(place, 1<<40, []byte("evil"))
		if err != nil {
			o.t.Fatal(err)
		}
		return value
	}
	own := sealtest.New(o.t, o.mesh, "user-svc", "user-svc", o.box)
	pretender := sealtest.New(o.t, o.mesh, "shop-svc", "user-svc", sealtest.Box(o.t)) // with a certificate of the mesh
	stranger := sealtest.New(o.t, sealtest.Authority(o.t), "user-svc", "user-svc", sealtest.Box(o.t))
	vouched := func(p sealtest.Party) func() {
		return func() {
			id, voucher, err := p.Voucher()
			if err != nil {
				o.t.Fatal(err)
			}
			o.inject("_seal."+id, voucher)
			o.inject("a", by(p, at("a")))
		}
	}
	a, b := o.stored("a"), o.stored("b")
	elsewhere, earlier := at("a"), at("a")
	elsewhere.Bucket, earlier.Made = kv.Keys, earlier.Made.Add(-time.Hour)
	return map[string]func(){
		"no seal":                      func() { o.inject("a", []byte("evil")) },
		"a new entry without a seal":   func() { o.inject("new", []byte("evil")) },
		"an entry that is too short":   func() { o.inject("a", nil) },
		"the seal of another value":    func() { o.inject("a", append([]byte("evil"), a[1:]...)) },
		"a broken seal":                func() { o.inject("a", append(a[:20:20], "!!!"...)) },
		"the seal of another key":      func() { o.inject("a", b) },
		"the seal of another bucket":   func() { o.inject("a", by(own, elsewhere)) },
		"the seal of a former bucket":  func() { o.inject("a", by(own, earlier)) },
		"another service's voucher":    vouched(pretender),
		"another authority's voucher":  vouched(stranger),
		"an entry that was replaced":   func() { o.inject("a", old) },
		"an entry that was deleted":    func() { o.inject("gone", deleted) },
		"a deletion":                   func() { o.inject("a", nil, "KV-Operation", "DEL") },
		"a deletion with a seal":       func() { o.inject("a", a, "KV-Operation", "DEL") },
		"a purge":                      func() { o.inject("a", nil, "KV-Operation", "PURGE", "Nats-Rollup", "sub") },
		"a marker of NATS":             func() { o.inject("a", nil, "Nats-Marker-Reason", "Remove") },
		"a status of NATS":             func() { o.inject("a", nil, "Status", "404") },
		"a mark with a status":         func() { o.inject("_filled", nil, "Status", "404") },
		"a mark":                       func() { o.inject("_filled", []byte("filling forever")) },
		"the deletion of a mark":       func() { o.inject("_filled", nil, "KV-Operation", "DEL") },
		"the deletion of the vouchers": func() { o.unvouch() },
	}
}

// unvouch deletes all vouchers.
func (o *owned) unvouch() {
	o.t.Helper()
	keys, err := o.raw.Keys(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, key := range keys {
		if strings.HasPrefix(key, "_seal.") {
			o.inject(key, nil, "KV-Operation", "DEL")
		}
	}
}

// prepare returns sealed entries that don't hold any more.
func (o *owned) prepare() (old, deleted []byte) {
	o.t.Helper()
	o.set(o.keeper, "a", []byte("old"))
	o.set(o.keeper, "gone", []byte("gone"))
	old, deleted = o.stored("a"), o.stored("gone")
	o.set(o.keeper, "a", []byte("1"))
	o.set(o.keeper, "gone", nil)
	return old, deleted
}

func TestOthersEntriesDontCount(t *testing.T) {
	o := newOwned(t, map[string]string{"a": "1", "b": "2"})
	m := o.watch(t, o.reader)
	eventually(t, m, map[string]string{"a": "1", "b": "2"})
	plain := o.watch(t, nil)
	old, deleted := o.prepare()
	attacks := o.attacks(old, deleted)
	for i, name := range slices.Sorted(maps.Keys(attacks)) {
		attacks[name]()
		fence := []byte(fmt.Sprint("after ", i))
		o.set(o.keeper, "fence", fence)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := m.WaitFor(ctx, func(have map[string]string) bool { return have["fence"] == string(fence) }); err != nil {
			t.Fatal(name, err)
		}
		cancel()
		if want := texts(o.database()); !maps.Equal(m.Load(), want) {
			t.Errorf("%s: the map is %v, not %v", name, m.Load(), want)
		}
	}
	if maps.Equal(plain.Load(), m.Load()) {
		t.Error("a map without seals is the same: nothing was attacked")
	}
	late := o.watch(t, sealtest.New(t, o.mesh, "gateway-svc", "gateway-svc", sealtest.Box(t)))
	o.fill()
	eventually(t, late, texts(o.database())) // with the voucher that came back
	eventually(t, m, texts(o.database()))
	if n := o.reader.Refusals(t); n < float64(len(attacks)-3) {
		t.Errorf("%v refusals are counted", n)
	}
}

// TestOwnersPutRight has others write to the bucket while its owner guards it.
func TestOwnersPutRight(t *testing.T) {
	o := newOwned(t, map[string]string{"a": "1", "b": "2"})
	old, deleted := o.prepare()
	attacks := o.attacks(old, deleted)
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		wrong := make(chan struct{}, 10)
		ctx, cancel := context.WithCancel(t.Context())
		var guard sync.WaitGroup
		guard.Go(func() {
			o.keeper.Guard(ctx, o.js, sealed, slog.New(slog.DiscardHandler), func() { wrong <- struct{}{} })
		})
		<-wrong // the watch has begun
		attacks[name]()
		began := time.Now()
		<-wrong
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: the owner knows after %v", name, took)
		}
		o.fill()
		cancel()
		guard.Wait()
		fresh := sealtest.New(t, o.mesh, "gateway-svc", "gateway-svc", sealtest.Box(t))
		eventually(t, o.watch(t, fresh), texts(o.database()))
		if whole, err := kv.Filled(t.Context(), o.js, sealed, fresh); err != nil || !whole {
			t.Errorf("%s: the bucket is filled: %v %v", name, whole, err)
		}
		for key, value := range map[string]string{"a": "1", "gone": "", "new": ""} {
			have, err := kv.Lookup(t.Context(), o.js, sealed, key, fresh)
			if err != nil || string(have) != value {
				t.Errorf("%s: %s is %q, %v", name, key, have, err)
			}
		}
	}
}

// TestOwnersDontAlarmEachOther has two processes of the owner write the same keys at the same time.
func TestOwnersDontAlarmEachOther(t *testing.T) {
	o := newOwned(t, map[string]string{"a": "0"})
	other := kv.NewKeeper(sealtest.New(t, o.mesh, "user-svc", "user-svc", o.box))
	var alarms atomic.Int64
	began := make(chan struct{}, 2)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var guards sync.WaitGroup
	t.Cleanup(func() { cancel(); guards.Wait() })
	for _, k := range []*kv.Keeper{o.keeper, other} {
		first := true
		guards.Go(func() {
			k.Guard(ctx, o.js, sealed, slog.New(slog.DiscardHandler), func() {
				if first {
					first = false
					began <- struct{}{}
					return
				}
				alarms.Add(1)
			})
		})
	}
	<-began
	<-began
	m := o.watch(t, o.reader)
	var writers sync.WaitGroup
	for n, k := range []*kv.Keeper{o.keeper, other} {
		writers.Go(func() {
			for i := range 100 {
				key := string(rune('a' + i%5))
				o.set(k, key, []byte(fmt.Sprint(n, " ", i)))
				if i%7 == 0 {
					o.set(k, key, nil)
				}
			}
		})
	}
	writers.Wait()
	o.fill()
	o.inject("evil", []byte("evil")) // after which both guards must have seen all of it
	for deadline := time.Now().Add(patience); alarms.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the owners aren't told")
		}
	}
	if n := alarms.Load(); n != 2 {
		t.Errorf("%d alarms", n)
	}
	eventually(t, m, texts(o.database()))
	late := o.watch(t, sealtest.New(t, o.mesh, "gateway-svc", "gateway-svc", sealtest.Box(t)))
	eventually(t, late, texts(o.database()))
}

// TestAnotherKeySealsAnew has the owner lose its secret key, and the bucket, and both.
func TestAnotherKeySealsAnew(t *testing.T) {
	o := newOwned(t, map[string]string{"a": "1", "b": "2"})
	m := o.watch(t, o.reader)
	eventually(t, m, texts(o.database()))
	replaced := o.stored("a")
	o.keeper = kv.NewKeeper(sealtest.New(t, o.mesh, "user-svc", "user-svc", sealtest.Box(t)))
	o.fill()
	if bytes.Equal(o.stored("a"), replaced) {
		t.Error("the entry is sealed with the former key")
	}
	o.set(o.keeper, "a", []byte("3"))
	eventually(t, m, texts(o.database()))
	if err := o.js.DeleteKeyValue(t.Context(), sealed); err != nil {
		t.Fatal(err)
	}
	o.change("a", "4")
	o.fill()
	eventually(t, m, texts(o.database()))
}

func (o *owned) change(key, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want[key] = []byte(value)
}
