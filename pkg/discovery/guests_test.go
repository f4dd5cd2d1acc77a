package discovery_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/kv"
	"micromesh/pkg/seal/sealtest"
)

func guest(name, address string) *registry.Service {
	s := service(name, "1", address)
	s.Nodes[0].Metadata = map[string]string{discovery.Via: discovery.ViaStock, "transport": "http"}
	return s
}

// TestGuestsThatTheRegistryHasNotSealedAreNone has others write guests, and nodes that need no seal.
func TestGuestsThatTheRegistryHasNotSealedAreNone(t *testing.T) {
	n, mesh, box := startNATS(t), sealtest.Authority(t), sealtest.Box(t)
	own := sealtest.New(t, mesh, "registry-svc", "registry-svc", box)
	bridge := n.registry(discovery.Config{}, discovery.WithSeal(own))
	bridge.SealGuests(own)
	party := sealtest.New(t, mesh, "gateway-svc", "gateway-svc", sealtest.Box(t))
	r, believer := n.registry(discovery.Config{}, discovery.WithSeal(party)), n.registry(discovery.Config{})
	b, err := n.connect().KeyValue(t.Context(), kv.Nodes)
	if err != nil {
		t.Fatal(err)
	}
	mustRegister(t, bridge, guest("pets", "h:1"), time.Minute)
	eventually(t, "the guest is known", func() bool { return count(r, "pets") == 1 && count(bridge, "pets") == 1 })
	key := discovery.Key("pets", "1")
	e, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := bytes.Clone(e.Value())
	value := sealed[:bytes.LastIndexByte(sealed, '\n')]
	resealed := func(at kv.Place, age time.Duration, by sealtest.Party, value []byte) []byte {
		out, err := by.Sign(at, uint64(time.Now().Add(-age).Unix()), value)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	place := kv.Place{Bucket: kv.Nodes, Key: key}
	pretender := sealtest.New(t, mesh, "shop-svc", "registry-svc", sealtest.Box(t))
	_, voucher, err := pretender.Voucher()
	if err != nil {
		t.Fatal(err)
	}
	_, vouched, err := own.Voucher()
	if err != nil {
		t.Fatal(err)
	}
	moved := bytes.Replace(value, []byte("h:1"), []byte("h:2"), 1)
	for name, forged := range map[string][]byte{
		"no seal":                    moved,
		"the seal of another value":  append(bytes.Clone(moved), sealed[len(value):]...),
		"the seal of another key":    resealed(kv.Place{Bucket: kv.Nodes, Key: "pets.2"}, 0, own, moved),
		"the seal of another bucket": resealed(kv.Place{Bucket: kv.Instances, Key: key}, 0, own, moved),
		"an old seal":                resealed(place, time.Hour, own, moved),
		"another service's seal":     resealed(place, 0, pretender, bytes.Replace(moved, vouched, voucher, 1)),
		"another spelling":           bytes.Replace(moved, []byte(`"stock"`), []byte(`"\u0073tock"`), 1),
	} {
		if _, err := b.Put(t.Context(), key, forged); err != nil {
			t.Fatal(err)
		}
		fence := strings.ReplaceAll(name, " ", "-")
		mustRegister(t, believer, service(fence, "1", "h:9"), time.Minute) // needs no seal
		eventually(t, "the node after "+name+" is known", func() bool { return count(r, fence) == 1 })
		if s := r.Lookup("pets"); s == nil || s.Nodes[0].Address != "h:1" {
			t.Errorf("%s: the guest is %v", name, s)
		}
	}
	if n := party.Refusals(t); n != 7 {
		t.Errorf("%v refusals are counted", n)
	}
	eventually(t, "who believes everything has another address", func() bool { return believer.Lookup("pets").Nodes[0].Address == "h:2" })
	mustRegister(t, bridge, guest("pets", "h:3"), time.Minute)
	eventually(t, "the guest has moved", func() bool { return r.Lookup("pets").Nodes[0].Address == "h:3" })
}
