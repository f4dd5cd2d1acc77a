package kv_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
)

// within is the time in which a revocation must take effect.
const within = 5 * time.Second

// soon waits until the map equals want, and fails if that takes longer than a revocation may.
func soon(t *testing.T, m *kv.Map[string], want map[string]string) {
	t.Helper()
	began := time.Now()
	eventually(t, m, want)
	if took := time.Since(began); took > within {
		t.Errorf("took %v, want at most %v", took, within)
	}
}

// fill fills the bucket as its owner does.
func fill(t *testing.T, js jetstream.JetStream, want map[string]string) {
	t.Helper()
	if _, err := kv.Fill(t.Context(), js, "things", kv.Options{}, func(map[string][]byte) (map[string][]byte, error) { return raw(want), nil }); err != nil {
		t.Fatal(err)
	}
}

func raw(want map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range want {
		out[k] = []byte(v)
	}
	return out
}

// lost returns a map that knows a and b, which the owner has filled in, or which were just put there.
func lost(t *testing.T, marked bool) (*natstest.Server, jetstream.JetStream, *kv.Map[string]) {
	t.Helper()
	srv := natstest.Start(t)
	_, js := srv.Connect()
	m := watch(t, js)
	known := map[string]string{"a": "1", "b": "2"}
	if marked {
		fill(t, js, known)
	} else {
		b := open(t, js)
		put(t, b, "a", "1")
		put(t, b, "b", "2")
	}
	eventually(t, m, known)
	return srv, js, m
}

// TestAMapIsWhatItsBucketIsFilledWithAgain loses the bucket in several ways and fills it again with fewer entries: the others must be
// gone.
func TestAMapIsWhatItsBucketIsFilledWithAgain(t *testing.T) {
	t.Parallel()
	wipe := func(t *testing.T, srv *natstest.Server, _ jetstream.JetStream) {
		srv.Stop()
		srv.Wipe()
		srv.Start()
	}
	drop := func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
		if err := js.DeleteKeyValue(t.Context(), "things"); err != nil {
			t.Fatal(err)
		}
	}
	purge := func(t *testing.T, _ *natstest.Server, js jetstream.JetStream) {
		s, err := js.Stream(t.Context(), "KV_things")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		lose func(*testing.T, *natstest.Server, jetstream.JetStream)
		then map[string]string
	}{
		{"NATS loses everything", wipe, map[string]string{"b": "2"}},
		{"nothing is left", wipe, map[string]string{}},
		{"the bucket is deleted", drop, map[string]string{"b": "2"}},
		{"the bucket is deleted, nothing is left", drop, map[string]string{}},
		{"the bucket is purged", purge, map[string]string{"b": "2"}},
		{"the bucket is purged, nothing is left", purge, map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv, js, m := lost(t, true)
			c.lose(t, srv, js)
			if whole, err := kv.Filled(t.Context(), js, "things", nil); whole || err != nil {
				t.Errorf("the bucket is said to be filled: %v, %v", whole, err)
			}
			fill(t, js, c.then)
			soon(t, m, c.then)
			if whole, err := kv.Filled(t.Context(), js, "things", nil); !whole || err != nil {
				t.Errorf("the bucket is said not to be filled: %v, %v", whole, err)
			}
		})
	}
}

// TestAMapIsWhatABucketWithoutAMarkSettlesAt is about owners that mark nothing: those of an older version.
func TestAMapIsWhatABucketWithoutAMarkSettlesAt(t *testing.T) {
	t.Parallel()
	for _, marked := range []bool{false, true} { // before the older owner came
		srv, js, m := lost(t, marked)
		if marked {
			if err := open(t, js).Delete(t.Context(), "_filled"); err != nil { // as all that is too much
				t.Fatal(err)
			}
			put(t, open(t, js), "b", "3")
			eventually(t, m, map[string]string{"a": "1", "b": "3"})
		}
		srv.Stop()
		srv.Wipe()
		srv.Start()
		put(t, open(t, js), "b", "2")
		soon(t, m, map[string]string{"b": "2"})
	}
}

// TestNothingIsLostWhileABucketIsFilled looks at a map while the owner fills a bucket that was lost: slowly.
func TestNothingIsLostWhileABucketIsFilled(t *testing.T) {
	t.Parallel()
	srv, js, m := lost(t, true)
	srv.Stop()
	srv.Wipe()
	srv.Start()
	loads, more := make(chan struct{}), make(chan struct{})
	go func() {
		_, _ = kv.Fill(t.Context(), js, "things", kv.Options{}, func(have map[string][]byte) (map[string][]byte, error) {
			if have == nil {
				return nil, nil
			}
			loads <- struct{}{}
			<-more
			return raw(map[string]string{"b": "2", "new": "3"}), nil
		})
	}()
	<-loads
	put(t, open(t, js), "new", "3") // a change that comes meanwhile
	eventually(t, m, map[string]string{"a": "1", "b": "2", "new": "3"})
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // longer than a bucket without a mark needs
		if diff := cmp.Diff(map[string]string{"a": "1", "b": "2", "new": "3"}, m.Load()); diff != "" {
			t.Fatalf("before the bucket was filled: %s", diff)
		}
	}
	close(more)
	<-loads // again: it has added something
	soon(t, m, map[string]string{"b": "2", "new": "3"})
}

func TestASeedHoldsUntilTheBucketIsFilled(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	put(t, b, "_filled", "filled 2006-01-02T15:04:05Z") // some other bucket was
	m := watch(t, js)
	m.Seed(map[string]string{"removed": "1", "kept": "1"})
	put(t, b, "kept", "2")
	ctx := t.Context()
	for ch := m.Changed(); m.Load()["kept"] != "2"; ch = m.Changed() {
		select {
		case <-ch:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	if diff := cmp.Diff(map[string]string{"removed": "1", "kept": "2"}, m.Load()); diff != "" || m.Synced() {
		t.Errorf("before it is filled: synced %v, %s", m.Synced(), diff)
	}
	fill(t, js, map[string]string{"kept": "2"})
	soon(t, m, map[string]string{"kept": "2"})
	fill(t, js, nil)
	soon(t, m, map[string]string{})
}

// TestWhatIsDeletedWhileItIsWrittenIsGone has an entry deleted from the database after it was read there, and before it is in the bucket:
// whoever deleted it found nothing to delete there.
func TestWhatIsDeletedWhileItIsWrittenIsGone(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	answers := []map[string]string{{"a": "1", "b": "2"}, {"b": "2"}}
	err := kv.Sync(t.Context(), b, func(map[string][]byte) (map[string][]byte, error) {
		now := answers[0]
		answers = answers[min(1, len(answers)-1):]
		return raw(now), nil
	})
	if got := value(t, b, "a"); err != nil || got != "" {
		t.Errorf("Sync left %q, %v", got, err)
	}
	values := [][]byte{[]byte("1"), nil}
	_, err = kv.Write(t.Context(), b, "a", func([]byte) ([]byte, error) {
		now := values[0]
		values = values[min(1, len(values)-1):]
		return now, nil
	})
	if got := value(t, b, "a"); err != nil || got != "" {
		t.Errorf("Write left %q, %v", got, err)
	}
}

// TestManyOwnersFillOneBucket has replicas of an owner fill a bucket at the same time.
func TestManyOwnersFillOneBucket(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t).Connect()
	m := watch(t, js)
	want := map[string]string{}
	for _, k := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		want[k] = k
	}
	done := make(chan error)
	for range 4 {
		go func() {
			_, err := kv.Fill(t.Context(), js, "things", kv.Options{}, func(map[string][]byte) (map[string][]byte, error) { return raw(maps.Clone(want)), nil })
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	soon(t, m, want)
}
