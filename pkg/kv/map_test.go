package kv_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
)

const patience = 20 * time.Second

func text(_ string, b []byte) (string, error) {
	if string(b) == "bad" {
		return "", errors.New("bad value")
	}
	return string(b), nil
}

func watch(t *testing.T, js jetstream.JetStream) *kv.Map[string] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := kv.Watch(ctx, js, "things", slog.New(slog.NewTextHandler(t.Output(), nil)), text)
	t.Cleanup(func() { cancel(); m.Wait() })
	return m
}

// eventually waits until the map is what is wanted.
func eventually(t *testing.T, m *kv.Map[string], want map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.WaitFor(ctx, func(have map[string]string) bool { return maps.Equal(have, want) }); err != nil {
		t.Fatalf("%v; the map differs (-want +have):\n%s", err, cmp.Diff(want, m.Load()))
	}
}

func open(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	b, err := kv.Open(t.Context(), js, "things", kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, b jetstream.KeyValue, k, v string) {
	t.Helper()
	if _, err := b.Put(t.Context(), k, []byte(v)); err != nil {
		t.Fatal(err)
	}
}

func TestMapFollowsTheBucket(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	m := watch(t, js) // before there is a bucket
	if m.Synced() {
		t.Error("synced before the bucket exists")
	}
	b := open(t, js)
	put(t, b, "a", "1")
	eventually(t, m, map[string]string{"a": "1"})
	put(t, b, "b", "2")
	put(t, b, "a", "3")
	eventually(t, m, map[string]string{"a": "3", "b": "2"})
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, m, map[string]string{"b": "2"})
	put(t, b, "c", "bad") // refused, and nothing else is lost
	put(t, b, "d", "4")
	eventually(t, m, map[string]string{"b": "2", "d": "4"})
	if err := b.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	eventually(t, m, map[string]string{})
}

func TestMapStartsFromASeed(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	m := watch(t, js)
	m.Seed(map[string]string{"old": "1"})
	if diff := cmp.Diff(map[string]string{"old": "1"}, m.Load()); diff != "" {
		t.Fatal(diff)
	}
	put(t, open(t, js), "new", "2")
	eventually(t, m, map[string]string{"new": "2"})
	m.Seed(map[string]string{"late": "3"})
	if diff := cmp.Diff(map[string]string{"new": "2"}, m.Load()); diff != "" {
		t.Errorf("a seed after the sync: %s", diff)
	}
}

func TestMapOutlivesAnOutage(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	m := watch(t, js)
	put(t, open(t, js), "a", "1")
	eventually(t, m, map[string]string{"a": "1"})
	srv.Stop()
	if diff := cmp.Diff(map[string]string{"a": "1"}, m.Load()); diff != "" {
		t.Fatal(diff)
	}
	srv.Start()
	put(t, open(t, js), "b", "2")
	eventually(t, m, map[string]string{"a": "1", "b": "2"})
}

func TestMapKeepsTheLastGoodStateWhenNATSLosesEverything(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	m := watch(t, js)
	put(t, open(t, js), "a", "1")
	eventually(t, m, map[string]string{"a": "1"})
	srv.Stop()
	srv.Wipe()
	srv.Start()
	b := open(t, js)
	if diff := cmp.Diff(map[string]string{"a": "1"}, m.Load()); diff != "" {
		t.Fatalf("an empty bucket replaced what was known: %s", diff)
	}
	put(t, b, "b", "2") // the owner fills it again
	eventually(t, m, map[string]string{"b": "2"})
}

func TestSyncMakesTheBucketEqual(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	put(t, b, "same", "1")
	put(t, b, "differs", "old")
	put(t, b, "surplus", "x")
	before, err := b.Get(t.Context(), "same")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"same": []byte("1"), "differs": []byte("new"), "missing": []byte("2")}
	if err := kv.Sync(t.Context(), b, func(map[string][]byte) (map[string][]byte, error) { return want, nil }); err != nil {
		t.Fatal(err)
	}
	keys, err := b.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	if diff := cmp.Diff([]string{"differs", "missing", "same"}, keys); diff != "" {
		t.Error(diff)
	}
	after, err := b.Get(t.Context(), "same")
	if err != nil {
		t.Fatal(err)
	}
	if before.Revision() != after.Revision() {
		t.Error("an entry that was right was written again")
	}
}

func TestKeyTakesAnyText(t *testing.T) {
	for _, s := range []string{"a", "user-svc", "http://127.0.0.1:80/x?*>", "ключ", ""} {
		got, ok := kv.Text(kv.Key(s))
		if !ok || got != s {
			t.Errorf("%q came back as %q, %v", s, got, ok)
		}
	}
	if _, ok := kv.Text("UPPER!"); ok {
		t.Error("a key that Key never makes was read")
	}
}

// TestAWatchWithoutChangesIsNotOld waits until a map in which nothing changes gets younger.
func TestAWatchWithoutChangesIsNotOld(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	put(t, open(t, js), "a", "1")
	m := watch(t, js)
	eventually(t, m, map[string]string{"a": "1"})
	oldest := m.Age()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // between two looks
		age := m.Age()
		if age < oldest {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the map is %v old", age)
		}
		oldest = age
	}
}
