package kv_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/events"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
)

// TestStreamsOfStrangersAreRefused makes streams before the mesh does, as the login of a service could once NATS has lost
// what it had.
func TestStreamsOfStrangersAreRefused(t *testing.T) {
	for says, change := range map[string]func(*jetstream.StreamConfig){
		"republishes": func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: ">", Destination: "others.>"}
		},
		"renames subjects": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "others.>"}
		},
		"copies other streams": func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
		"takes":                func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more."+c.Name) },
	} {
		t.Run(says, func(t *testing.T) {
			_, js := natstest.Start(t).Connect()
			create := func(name, subject string) {
				c := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, MaxMsgsPerSubject: 1, AllowDirect: true, AllowRollup: true, DenyDelete: true}
				change(&c)
				if _, err := js.CreateStream(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			create("KV_instances", "$KV.instances.>")
			_, err := kv.Open(t.Context(), js, kv.Instances, kv.Options{})
			refused(t, says, err)
			create("KV_nodes", "$KV.nodes.>")
			r, err := discovery.New(js, discovery.Config{Bucket: kv.Nodes}, discovery.WithLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if r.Register(&registry.Service{Name: "shop-svc", Nodes: []*registry.Node{{Id: "shop-svc-1", Address: "127.0.0.1:1"}}}) == nil {
				t.Error("a node was registered")
			}
			create(events.Stream, events.Subject(">"))
			refused(t, says, events.EnsureStream(t.Context(), js))
		})
	}
}

func refused(t *testing.T, says string, err error) {
	t.Helper()
	if !strings.Contains(fmt.Sprint(err), says) || !strings.Contains(fmt.Sprint(err), "delete it") {
		t.Errorf("%v; want that it %s, and what to do", err, says)
	}
}

func TestStreamsWithOtherLimitsAreGood(t *testing.T) {
	_, js := natstest.Start(t).Connect()
	c := jetstream.KeyValueConfig{Bucket: kv.Instances, MaxBytes: 1 << 20, History: 3, Storage: jetstream.MemoryStorage}
	if _, err := js.CreateKeyValue(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Open(t.Context(), js, kv.Instances, kv.Options{}); err != nil {
		t.Error(err)
	}
}
