package discovery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
)

const short = 500 * time.Millisecond

func TestNodeThatIsNotRefreshedExpires(t *testing.T) {
	n := startNATS(t)
	here, there := n.registry(discovery.Config{}), n.registry(discovery.Config{})
	mustRegister(t, here, service("dead", "1", "h:1"), short)
	mustRegister(t, here, service("alive", "1", "h:2"), short)
	eventually(t, "both are known", func() bool { return count(there, "dead") == 1 && count(there, "alive") == 1 })
	eventually(t, "the dead one is dropped", func() bool {
		mustRegister(t, here, service("alive", "1", "h:2"), short)
		if count(there, "alive") != 1 {
			t.Fatal("a node that is refreshed was dropped")
		}
		return count(there, "dead") == 0
	})
	if _, err := there.GetService("dead"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("GetService gave %v, want ErrNotFound", err)
	}
	mustRegister(t, here, service("dead", "1", "h:1"), short)
	eventually(t, "it is back when it registers again", func() bool { return count(there, "dead") == 1 })
}

func TestRegistrationWithoutLeaseLivesAsLongAsItsRegistry(t *testing.T) {
	n := startNATS(t)
	cfg := discovery.Config{TTL: short}
	here, there := n.registry(cfg), n.registry(cfg)
	mustRegister(t, here, service("pets", "1", "h:1"), 0)
	mustRegister(t, here, service("clock", "1", "h:2"), short) // tells when a lease is over
	eventually(t, "both are known", func() bool { return count(there, "pets") == 1 && count(there, "clock") == 1 })
	eventually(t, "a lease is over", func() bool { return count(there, "clock") == 0 })
	if count(there, "pets") != 1 {
		t.Fatal("the registry didn't refresh its node")
	}
	_ = here.Close()
	eventually(t, "the node is dropped after its registry has closed", func() bool { return count(there, "pets") == 0 })
}

func TestLastKnownGoodAnswerOutlivesAnOutage(t *testing.T) {
	n := startNATS(t)
	here, there := n.registry(discovery.Config{}), n.registry(discovery.Config{})
	mustRegister(t, here, service("pets", "1", "h:1"), short)
	mustRegister(t, here, service("leaver", "1", "h:2"), time.Minute)
	eventually(t, "both are known", func() bool { return count(there, "pets") == 1 && count(there, "leaver") == 1 })

	n.stop()
	eventually(t, "the outage is noticed", func() bool { return !there.Live() })
	if err := here.Register(service("pets", "2", "h:3"), registry.RegisterTTL(time.Minute)); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Register gave %v, want Unavailable", err)
	}
	if err := here.Deregister(service("leaver", "1", "h:2")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Deregister gave %v, want Unavailable", err)
	}
	// The lease passes twice while NATS is away.
	time.Sleep(2 * short)
	if count(there, "pets") != 1 {
		t.Fatal("the last known good answer was lost during the outage")
	}
	if _, err := there.GetService("nobody"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("GetService gave %v, want ErrNotFound", err)
	}

	n.start()
	eventually(t, "what could not be written is written when NATS is back", func() bool {
		mustRegisterSoon(t, here, service("pets", "1", "h:1"))
		return count(there, "pets") == 2
	})
}

func TestWipedBucketIsFilledAgain(t *testing.T) {
	n := startNATS(t)
	here, there := n.registry(discovery.Config{}), n.registry(discovery.Config{})
	mustRegister(t, here, service("pets", "1", "h:1"), 0)
	eventually(t, "it is known", func() bool { return count(there, "pets") == 1 })
	n.stop()
	n.wipe()
	n.start()
	eventually(t, "the registry is in sync again", func() bool {
		if count(there, "pets") != 1 {
			t.Fatal("the node was dropped though it never left")
		}
		return there.Live() && here.Live()
	})
	eventually(t, "a fresh registry finds the node", func() bool { return count(n.registry(discovery.Config{}), "pets") == 1 })
}

func TestNodeMissingAfterAnOutageHasOneMoreLease(t *testing.T) {
	n := startNATS(t)
	here, there := n.registry(discovery.Config{}), n.registry(discovery.Config{})
	mustRegister(t, here, service("pets", "1", "h:1"), short)
	eventually(t, "it is known", func() bool { return count(there, "pets") == 1 })
	n.stop()
	_ = here.Close()
	n.wipe()
	n.start()
	eventually(t, "the registry is in sync again", there.Live)
	if count(there, "pets") != 1 {
		t.Error("the node was dropped at once")
	}
	eventually(t, "it is dropped when the lease is over", func() bool { return count(there, "pets") == 0 })
}

func TestSeedAnswersUntilTheBucketIsSeen(t *testing.T) {
	n := startNATS(t)
	js := n.connect()
	n.stop()
	r, err := discovery.New(js, discovery.Config{TTL: short}, discovery.WithSeed([]*registry.Service{service("pets", "1", "h:1"), {Name: "bad", Nodes: []*registry.Node{{}}}}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got, err := r.GetService("pets"); err != nil || len(got) != 1 {
		t.Errorf("GetService gave %v, %v", got, err)
	}
	if _, err := r.GetService("nobody"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("GetService gave %v before the bucket was seen, want Unavailable", err)
	}
	n.start()
	if err := r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if count(r, "pets") != 1 {
		t.Error("the seeded node had no lease")
	}
	eventually(t, "the seeded node expires", func() bool { return count(r, "pets") == 0 })
}

// mustRegisterSoon registers, or tries again while NATS is coming back.
func mustRegisterSoon(t *testing.T, r *discovery.Registry, s *registry.Service) {
	t.Helper()
	if err := r.Register(s, registry.RegisterTTL(short)); err != nil && !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
}

// TestNodesThatLeftWhileNATSWasAwayAreGone removes a node with a long lease, or the whole bucket, without the registry noticing.
func TestNodesThatLeftWhileNATSWasAwayAreGone(t *testing.T) {
	t.Parallel()
	const limit = 7 * time.Second // that of a revocation, and the connection
	known := func(t *testing.T) (n *natsServer, js jetstream.JetStream, there *discovery.Registry) {
		n = startNATS(t)
		here := n.registry(discovery.Config{})
		there = n.registry(discovery.Config{})
		mustRegister(t, here, service("stays", "1", "h:1"), 0)
		gone := n.registry(discovery.Config{})
		mustRegister(t, gone, service("gone", "1", "h:2"), time.Minute)
		eventually(t, "both are known", func() bool { return count(there, "stays") == 1 && count(there, "gone") == 1 })
		_ = gone.Close()
		return n, n.connect(), there
	}
	obeyed := func(t *testing.T, there *discovery.Registry) {
		began := time.Now()
		eventually(t, "the node is gone", func() bool {
			if count(there, "stays") != 1 {
				t.Fatal("a node that lives was dropped")
			}
			return count(there, "gone") == 0
		})
		if took := time.Since(began); took > limit {
			t.Errorf("took %v", took)
		}
	}
	t.Run("NATS loses everything", func(t *testing.T) {
		t.Parallel()
		n, _, there := known(t)
		n.stop()
		n.wipe()
		n.start()
		obeyed(t, there)
	})
	t.Run("the bucket is deleted", func(t *testing.T) {
		t.Parallel()
		_, js, there := known(t)
		if err := js.DeleteKeyValue(t.Context(), "nodes"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the loss is noticed", func() bool { _, err := js.KeyValue(t.Context(), "nodes"); return err == nil })
		obeyed(t, there)
	})
	t.Run("its key runs out", func(t *testing.T) {
		t.Parallel()
		n, js, there := known(t)
		s, err := js.Stream(t.Context(), "KV_nodes")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.nodes."+discovery.Key("gone", "1"))); err != nil {
			t.Fatal(err)
		}
		n.stop()
		n.start()
		obeyed(t, there)
	})
}
