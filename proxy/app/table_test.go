package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/routing"
	"micromesh/proxy/service"
)

// noRoutes is a store without host routes.
type noRoutes struct{ service.Store }

func (noRoutes) Routes(context.Context, []string) ([]service.Route, error) { return nil, nil }

// TestAnAddressLeavesOneSlugBeforeAnotherGetsIt has instances of some slugs leave their addresses to those of others.
func TestAnAddressLeavesOneSlugBeforeAnotherGetsIt(t *testing.T) {
	const n = 100
	_, js := natstest.Start(t).Connect()
	fill := func(want map[string][]byte) {
		_, err := kv.Fill(t.Context(), js, kv.Instances, kv.Options{}, func(map[string][]byte) (map[string][]byte, error) { return want, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	instances := func(owner string) map[string][]byte {
		want := map[string][]byte{}
		for i := range n {
			slug := fmt.Sprintf("%s-%d", owner, i)
			b, err := json.Marshal(routing.Instance{ID: slug, Slug: slug, URL: fmt.Sprintf("http://127.0.0.1:%d", 1000+i), Status: routing.Healthy, Generation: 1})
			if err != nil {
				t.Fatal(err)
			}
			want[routing.InstanceKey(slug, slug)] = b
		}
		return want
	}
	fill(instances("cats"))
	table := newTable(js, noRoutes{}, nil, slog.New(slog.DiscardHandler))
	known := kv.Watch(t.Context(), js, kv.Instances, slog.New(slog.DiscardHandler), decodeInstance)
	wait := func(owner string) {
		err := known.WaitFor(t.Context(), func(all map[string]*routing.Instance) bool {
			here := 0
			for _, i := range all {
				if i.Slug[:4] == owner {
					here++
				}
			}
			return here == n && len(all) == n
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wait("cats")
	if err := table.publish(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	fill(instances("dogs"))
	wait("dogs")
	bucket, err := js.KeyValue(t.Context(), kv.Routing)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := bucket.WatchAll(t.Context(), jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	if err := table.publish(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for came := 0; came < n; {
		e := <-watch.Updates()
		if e == nil {
			continue
		}
		for i := range n {
			switch e.Key() {
			case routing.SlugKey(fmt.Sprint("cats-", i)):
				left[fmt.Sprint(i)] = true
			case routing.SlugKey(fmt.Sprint("dogs-", i)):
				if came++; !left[fmt.Sprint(i)] {
					t.Fatalf("dogs-%d has the address while cats-%d has it still", i, i)
				}
			}
		}
	}
}
