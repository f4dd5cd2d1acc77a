package discovery_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/discovery"
	"micromesh/pkg/kv"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/seal/sealtest"
)

// signs returns options of a registry of the process with a certificate for a slug.
func signs(t *testing.T, by *identity.Authority, slug string) (sealtest.Party, []discovery.Option) {
	t.Helper()
	p := sealtest.New(t, by, slug, slug, sealtest.Box(t))
	return p, []discovery.Option{discovery.WithSeal(p), discovery.WithVoucher(p.Identity)}
}

// TestNodesThatTheirServiceHasNotSignedAreNone has a process of another service write nodes, as far as NATS lets it write at all.
func TestNodesThatTheirServiceHasNotSignedAreNone(t *testing.T) {
	n, mesh := startNATS(t), sealtest.Authority(t)
	_, own := signs(t, mesh, "shop")
	reader, others := signs(t, mesh, "gateway-svc")
	_, evil := signs(t, mesh, "evil")
	shop, r, attacker := n.registry(discovery.Config{}, own...), n.registry(discovery.Config{}, others...), n.registry(discovery.Config{}, evil...)
	b, err := n.connect().KeyValue(t.Context(), kv.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	mustRegister(t, shop, service("shop", "1", "h:1"), time.Minute)
	eventually(t, "the node is known", func() bool { return count(r, "shop") == 1 })
	entry, err := b.Get(t.Context(), discovery.Key("shop", "1"))
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Clone(entry.Value())
	value, _, _ := bytes.Cut(first, []byte("\n"))
	mustRegister(t, shop, service("shop", "1", "h:2"), time.Minute)
	eventually(t, "the node has moved", func() bool { return r.Lookup("shop").Nodes[0].Address == "h:2" })
	for name, put := range map[string]func() error{
		"a node of the service by another certificate": func() error { return attacker.Register(service("shop", "9", "h:9")) },
		"another certificate for the same node":        func() error { return attacker.Register(service("shop", "1", "h:9")) },
		"no signature": func() error {
			_, err := b.Put(t.Context(), discovery.Key("shop", "9"), bytes.ReplaceAll(value, []byte(`"1"`), []byte(`"9"`)))
			return err
		},
		"a changed record": func() error {
			_, err := b.Put(t.Context(), discovery.Key("shop", "1"), bytes.Replace(first, []byte("h:1"), []byte("h:9"), 1))
			return err
		},
		"an older record":              func() error { _, err := b.Put(t.Context(), discovery.Key("shop", "1"), first); return err },
		"the record under another key": func() error { _, err := b.Put(t.Context(), discovery.Key("shop", "2"), first); return err },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		fence := strings.ReplaceAll(name, " ", "-")
		_, opts := signs(t, mesh, fence)
		mustRegister(t, n.registry(discovery.Config{}, opts...), service(fence, "1", "h:9"), time.Minute)
		eventually(t, "the node after "+name+" is known", func() bool { return count(r, fence) == 1 })
		if s := r.Lookup("shop"); len(s.Nodes) != 1 || s.Nodes[0].Address != "h:2" {
			t.Errorf("%s: the nodes are %v", name, s.Nodes)
		}
	}
	if n := reader.Refusals(t); n < 6 {
		t.Errorf("%v refusals are counted", n)
	}
}

// TestCopiedRecordsRefreshNothing copies the record of a process that is gone, with a header that clients take for its revision.
func TestCopiedRecordsRefreshNothing(t *testing.T) {
	n, mesh := startNATS(t), sealtest.Authority(t)
	_, own := signs(t, mesh, "shop")
	_, others := signs(t, mesh, "gateway-svc")
	shop, r := n.registry(discovery.Config{TTL: 2 * time.Second}, own...), n.registry(discovery.Config{TTL: 2 * time.Second}, others...)
	mustRegister(t, shop, service("shop", "1", "h:1"), 2*time.Second)
	eventually(t, "the node is known", func() bool { return count(r, "shop") == 1 })
	js := n.connect()
	b, err := js.KeyValue(t.Context(), kv.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := b.Get(t.Context(), discovery.Key("shop", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { // again and again, as long as the test runs
		for ctx.Err() == nil {
			m := nats.NewMsg("$KV." + kv.Nodes + "." + discovery.Key("shop", "1"))
			m.Data = entry.Value()
			m.Header.Set("Nats-Sequence", "999")
			if _, err := js.PublishMsg(ctx, m); err != nil && ctx.Err() == nil {
				t.Errorf("copy the record: %v", err)
				return
			}
		}
	}()
	eventually(t, "the node has expired", func() bool { return count(r, "shop") == 0 })
}
