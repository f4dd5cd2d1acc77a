package discovery_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
)

func TestRegistryTellsOthersWhatIsRegistered(t *testing.T) {
	n := startNATS(t)
	here, there := n.registry(discovery.Config{}), n.registry(discovery.Config{})
	want := service("pets", "pets-1", "127.0.0.1:1001")
	mustRegister(t, here, want, time.Minute)
	eventually(t, "the other registry knows the node", func() bool { return count(there, "pets") == 1 })
	got, err := there.GetService("pets")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*registry.Service{want}, got); diff != "" {
		t.Errorf("service differs (-want +got):\n%s", diff)
	}
	if err := here.Deregister(want); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other registry knows that it left", func() bool { return count(there, "pets") == 0 })
	if _, err := there.GetService("pets"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("GetService gave %v, want ErrNotFound", err)
	}
}

func TestAnswersBelongToTheCaller(t *testing.T) {
	n := startNATS(t)
	r := n.registry(discovery.Config{})
	want := service("pets", "pets-1", "127.0.0.1:1001")
	mustRegister(t, r, want, time.Minute)
	eventually(t, "the node is known", func() bool { return count(r, "pets") == 1 })
	got, _ := r.GetService("pets")
	got[0].Nodes[0].Address = "evil:1"
	got[0].Nodes[0].Metadata["zone"] = "evil"
	got[0].Metadata["team"] = "evil"
	got[0].Endpoints[0].Metadata["stream"] = "evil"
	got[0].Endpoints[0].Request.Values[0].Name = "evil"
	again, _ := r.ListServices()
	if diff := cmp.Diff([]*registry.Service{want}, again); diff != "" {
		t.Errorf("the registry was changed from outside (-want +got):\n%s", diff)
	}
}

func TestVersionsAreSeparateEntries(t *testing.T) {
	n := startNATS(t)
	r := n.registry(discovery.Config{})
	for i, v := range []string{"1", "2", "1"} {
		s := service("pets", fmt.Sprintf("pets-%d", i), fmt.Sprintf("127.0.0.1:100%d", i))
		s.Version = v
		mustRegister(t, r, s, time.Minute)
	}
	eventually(t, "all nodes are known", func() bool { return count(r, "pets") == 3 })
	got, _ := r.GetService("pets")
	nodes := map[string]int{}
	for _, s := range got {
		nodes[s.Version] += len(s.Nodes)
	}
	if diff := cmp.Diff(map[string]int{"1": 2, "2": 1}, nodes); diff != "" {
		t.Error(diff)
	}
}

func TestRegisterRefuses(t *testing.T) {
	n := startNATS(t)
	r := n.registry(discovery.Config{MaxAge: time.Minute})
	for name, c := range map[string]struct {
		change func(*registry.Service)
		ttl    time.Duration
	}{
		"no name":            {change: func(s *registry.Service) { s.Name = "" }},
		"a long name":        {change: func(s *registry.Service) { s.Name = strings.Repeat("a", 300) }},
		"no node":            {change: func(s *registry.Service) { s.Nodes = nil }},
		"a nil node":         {change: func(s *registry.Service) { s.Nodes[0] = nil }},
		"no id":              {change: func(s *registry.Service) { s.Nodes[0].Id = "" }},
		"no port":            {change: func(s *registry.Service) { s.Nodes[0].Address = "127.0.0.1" }},
		"a lease too long":   {ttl: time.Hour},
		"a negative lease":   {ttl: -time.Second},
		"too much to say":    {change: func(s *registry.Service) { s.Metadata["x"] = strings.Repeat("a", 3<<20) }},
		"a lease of nothing": {ttl: time.Nanosecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := service("pets", "pets-1", "127.0.0.1:1001")
			if c.change != nil {
				c.change(s)
			}
			if err := r.Register(s, registry.RegisterTTL(c.ttl)); !errs.Is(err, errs.Invalid) {
				t.Errorf("Register gave %v, want an Invalid error", err)
			}
		})
	}
}

func TestNonsenseInTheBucketIsLeftOut(t *testing.T) {
	n := startNATS(t)
	r := n.registry(discovery.Config{})
	kv, err := n.connect().KeyValue(t.Context(), "nodes")
	if err != nil {
		t.Fatal(err)
	}
	good := `{"name":"pets","nodes":[{"id":"1","address":"h:1"}],"endpoints":[null],"ttl":60000}`
	for key, value := range map[string]string{
		"pets":                       good,
		"other.1":                    good,
		"pets.2":                     good,
		"pets=2.1":                   good,
		discovery.Key("a", "1"):      `{`,
		discovery.Key("b", "1"):      `null`,
		discovery.Key("c", "1"):      `{"name":"c","nodes":[null],"ttl":1000}`,
		discovery.Key("d", "1"):      `{"name":"d","nodes":[{"id":"1","address":"h:1"}]}`,
		discovery.Key("e", "1"):      `{"name":"e","nodes":[{"id":"1","address":"nowhere"}],"ttl":1000}`,
		discovery.Key("f", "1"):      `{"name":"f","nodes":[{"id":"1","address":"h:1"}],"ttl":9223372036854775807}`,
		discovery.Key("pets", "1"):   good,
		discovery.Key("p.e ts", "1"): `{"name":"p.e ts","nodes":[{"id":"1","address":"h:1"}],"ttl":60000}`,
	} {
		if _, err := kv.PutString(t.Context(), key, value); err != nil {
			t.Fatalf("put %s: %v", key, err)
		}
	}
	mustRegister(t, r, service("last", "1", "h:1"), time.Minute)
	eventually(t, "all was seen", func() bool { return count(r, "last") == 1 })
	all, _ := r.ListServices()
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"last", "p.e ts", "pets"}, names); diff != "" {
		t.Errorf("services differ (-want +got):\n%s", diff)
	}
	// A registry that starts with it does the same.
	if fresh := n.registry(discovery.Config{}); count(fresh, "pets") != 1 || count(fresh, "f") != 0 {
		t.Error("a fresh registry took up nonsense")
	}
}

func TestWatchTellsChangesAndNoRefreshes(t *testing.T) {
	n := startNATS(t)
	r := n.registry(discovery.Config{})
	pets, _ := r.Watch(registry.WatchService("pets"))
	other, _ := r.Watch(registry.WatchService("other"))
	s := service("pets", "pets-1", "127.0.0.1:1001")
	want := func(want string) {
		t.Helper()
		res, err := pets.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Action + " " + res.Service.Nodes[0].Address; got != want {
			t.Errorf("the watcher gave %s, want %s", got, want)
		}
	}
	mustRegister(t, r, s, time.Minute)
	want("create 127.0.0.1:1001")
	mustRegister(t, r, s, time.Minute) // a refresh
	s.Nodes[0].Address = "127.0.0.1:1002"
	mustRegister(t, r, s, time.Minute)
	want("update 127.0.0.1:1002")
	if err := r.Deregister(s); err != nil {
		t.Fatal(err)
	}
	want("delete 127.0.0.1:1002")
	stopped := make(chan error)
	go func() { _, err := other.Next(); stopped <- err }()
	other.Stop()
	if err := <-stopped; !errors.Is(err, registry.ErrWatcherStopped) {
		t.Errorf("a stopped watcher gave %v", err)
	}
	go func() { _, err := pets.Next(); stopped <- err }()
	_ = r.Close()
	if err := <-stopped; !errors.Is(err, registry.ErrWatcherStopped) {
		t.Errorf("a watcher of a closed registry gave %v", err)
	}
}

func TestConfigSaysEverythingThatIsWrong(t *testing.T) {
	_, err := discovery.New(nil, discovery.Config{TTL: time.Hour, MaxAge: time.Minute, Timeout: -1})
	if err == nil || !strings.Contains(err.Error(), "MaxAge") || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("New gave %v", err)
	}
}

func TestBucketIsMadeAsConfigured(t *testing.T) {
	n := startNATS(t)
	n.registry(discovery.Config{Bucket: "elsewhere", MaxAge: time.Minute, Storage: jetstream.MemoryStorage})
	kv, err := n.connect().KeyValue(t.Context(), "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	status, err := kv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := status.Config(); c.TTL != time.Minute || c.Storage != jetstream.MemoryStorage || c.History != 1 {
		t.Errorf("the bucket is %+v", c)
	}
}
