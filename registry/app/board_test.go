package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

// fleet is instances by id.
type fleet map[string]service.Instance

func (f fleet) Instance(id string) (service.Instance, bool) { in, ok := f[id]; return in, ok }
func (f fleet) Learn(context.Context, ...string) error      { return nil }
func (f fleet) Refresh(context.Context) error               { return nil }
func (f fleet) Mine(string) bool                            { return true }
func (f fleet) Instances() (all []service.Instance) {
	for _, in := range f {
		all = append(all, in)
	}
	return all
}

// TestDisplacedInstancesLeaveFirst has instances of cats displaced by those of dogs: no watcher of the bucket may see a URL with
// both.
func TestDisplacedInstancesLeaveFirst(t *testing.T) {
	const n = 300
	_, js := natstest.Start(t).Connect()
	all := fleet{}
	add := func(slug string, i int) {
		id := fmt.Sprintf("%s-%d", slug, i)
		all[id] = service.Instance{ID: id, Slug: slug, URL: routing.URL{Scheme: "http", Host: "127.0.0.1", Port: 1000 + i}, Status: routing.Healthy, Generation: 1}
	}
	for i := range n {
		add("cats-svc", i)
	}
	b := newBoard(js, slog.New(slog.DiscardHandler))
	if err := b.publish(t.Context(), all, true); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		add("dogs-svc", i)
		delete(all, fmt.Sprintf("cats-svc-%d", i))
		b.Displaced("cats-svc", fmt.Sprintf("cats-svc-%d", i))
		b.Changed("dogs-svc", fmt.Sprintf("dogs-svc-%d", i))
	}
	bucket, err := js.KeyValue(t.Context(), kv.Instances)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := bucket.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	for e := range watch.Updates() {
		if e == nil {
			break
		}
	}
	if err := b.publish(t.Context(), all, false); err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for came := 0; came < n; {
		e := <-watch.Updates()
		_, encoded, _ := strings.Cut(e.Key(), ".")
		id, ok := kv.Text(encoded)
		if !ok {
			continue // a mark
		}
		number := id[len("cats-svc-"):]
		switch {
		case e.Operation() != jetstream.KeyValuePut:
			left[number] = true
		case strings.HasPrefix(id, "dogs"):
			if came++; !left[number] {
				t.Fatalf("%s came while the instance of cats-svc at its URL was still there", id)
			}
		}
	}
}
