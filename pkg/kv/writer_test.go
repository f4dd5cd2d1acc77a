package kv_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
)

// value is what a bucket holds; empty is nothing.
func value(t *testing.T, b jetstream.KeyValue, key string) string {
	t.Helper()
	e, err := b.Get(t.Context(), key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value())
}

// TestWriterKnowsWhatOthersWrote has others write between its writes: each time it is told what is there.
func TestWriterKnowsWhatOthersWrote(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	w := kv.NewWriter(b)
	for i, step := range []struct {
		others func()
		want   string // to be written; empty is nothing
		told   string // at last
	}{
		{want: "1", told: ""},
		{want: "2", told: "1"},
		{others: func() { put(t, b, "k", "theirs") }, want: "3", told: "theirs"},
		{others: func() { put(t, b, "k", "theirs") }, want: "3", told: "theirs"}, // what was written last is to be written again
		{want: "", told: "3"},
		{want: "4", told: ""},
		{others: func() { _ = b.Delete(t.Context(), "k") }, want: "5", told: ""},
		{others: func() { _ = b.Delete(t.Context(), "k") }, want: "", told: ""},
	} {
		if step.others != nil {
			step.others()
		}
		var told string
		err := w.Write(t.Context(), "k", func(have []byte) ([]byte, error) {
			if string(have) != step.want || step.want == "" { // else it asks again whether what it has created is still wanted
				told = string(have)
			}
			if step.want == "" {
				return nil, nil
			}
			return []byte(step.want), nil
		})
		if got := value(t, b, "k"); err != nil || told != step.told || got != step.want {
			t.Errorf("step %d: told %q, then %q: %v; want %q, then %q", i, told, got, err, step.told, step.want)
		}
	}
}

// TestWritersCountTogether lets some writers raise one number: none takes back what another has done.
func TestWritersCountTogether(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	const writers, each = 3, 20
	var g sync.WaitGroup
	for range writers {
		w := kv.NewWriter(b)
		g.Go(func() {
			for range each {
				err := w.Write(t.Context(), "k", func(have []byte) ([]byte, error) {
					var n int
					_, _ = fmt.Sscan(string(have), &n) // 0 where there is nothing
					return fmt.Append(nil, n+1), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	if got := value(t, b, "k"); got != fmt.Sprint(writers*each) {
		t.Errorf("%s, want %d", got, writers*each)
	}
}

func TestWriterPassesErrorsOn(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	b := open(t, js)
	broken := errors.New("broken")
	if err := kv.NewWriter(b).Write(t.Context(), "k", func([]byte) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
