package schema_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn/natstest"
	"micromesh/pkg/schema"
	"micromesh/pkg/schema/schematest"
)

const patience = 30 * time.Second

var sources = map[string]string{
	"base.proto": schematest.Head("base") + `
		message Thing { string name = 1; }
		service Other { rpc Get(Thing) returns (Thing) { option (google.api.http) = {get: "/other-svc/x"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`,
	"shop.proto": schematest.Head("shop") + `
		import "base.proto";
		// Shop sells things.
		service Shop { rpc Buy(base.Thing) returns (base.Thing) { option (google.api.http) = {get: "/shop-svc/x"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`,
}

func TestPackedFilesComeBack(t *testing.T) {
	shop := schematest.Compile(t, "shop.proto", sources)
	s, err := schema.Pack(shop)
	if err != nil {
		t.Fatal(err)
	}
	again, err := schema.Pack(schematest.Compile(t, "shop.proto", sources))
	if err != nil || again.Hash != s.Hash || !bytes.Equal(again.Set, s.Set) {
		t.Errorf("the same files give another schema: %s and %s, %v", s.Hash, again.Hash, err)
	}
	if !schema.IsHash(s.Hash) {
		t.Errorf("%q is no hash", s.Hash)
	}
	files, err := schema.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	services := map[string]int{}
	for _, f := range files {
		services[f.Path()] = f.Services().Len()
	}
	if services["shop.proto"] != 1 || services["base.proto"] != 0 || len(files) < 5 {
		t.Errorf("services by file are %v: only those that were packed have any", services)
	}
	last := files[len(files)-1]
	if c := last.SourceLocations().ByDescriptor(last.Services().Get(0)).LeadingComments; !strings.Contains(c, "sells things") {
		t.Errorf("the comment is %q", c)
	}
	both, err := schema.Pack(schematest.Compile(t, "base.proto", sources), shop)
	if err != nil || both.Hash == s.Hash {
		t.Errorf("with the services of base.proto it is the same schema (%v)", err)
	}
}

func TestTooLargeIsNotPacked(t *testing.T) {
	big, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("big.proto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String(strings.Repeat("M", schema.MaxSize))}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.Pack(big); err == nil || !strings.Contains(err.Error(), fmt.Sprint(schema.MaxSize)) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := func(name string, imports ...string) *descriptorpb.FileDescriptorProto {
		return &descriptorpb.FileDescriptorProto{Name: proto.String(name), Syntax: proto.String("proto3"), Dependency: imports}
	}
	hashed := func(set []byte) schema.Schema { return schema.Schema{Hash: schema.Hash(set), Set: set} }
	packed := func(files ...*descriptorpb.FileDescriptorProto) schema.Schema {
		b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
		if err != nil {
			t.Fatal(err)
		}
		return hashed(b)
	}
	good := packed(file("a.proto"))
	rows := []struct {
		name    string
		schema  schema.Schema
		want    string
		content bool // it may be mended
	}{
		{"another hash", schema.Schema{Hash: strings.Repeat("0", 32), Set: good.Set}, "hash", true},
		{"another content", schema.Schema{Hash: good.Hash, Set: append(bytes.Clone(good.Set), 0)}, "hash", true},
		{"no hash", schema.Schema{Set: good.Set}, "hash", true},
		{"10 MB", hashed(make([]byte, 10_000_000)), "10000000 bytes", true},
		{"no descriptors", hashed([]byte("nonsense")), "no set of descriptors", false},
		{"a file that imports itself", packed(file("a.proto", "a.proto")), "link schema", false},
		{"files that import each other", packed(file("a.proto", "b.proto"), file("b.proto", "a.proto")), "cycle", false},
		{"an import that is missing", packed(file("a.proto", "b.proto")), "b.proto", false},
		{"a file twice", packed(file("a.proto"), file("a.proto")), "a.proto", false},
		{"a file without a name", packed(&descriptorpb.FileDescriptorProto{}), "link schema", false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := schema.Open(r.schema)
			if err == nil || !strings.Contains(err.Error(), r.want) || errors.Is(err, schema.ErrContent) != r.content {
				t.Errorf("got %v, want %q", err, r.want)
			}
		})
	}
	if _, err := schema.Open(good); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("\x0a\x0c\x0a\x07a.protob\x01x"))
	f.Fuzz(func(_ *testing.T, set []byte) {
		_, _ = schema.Open(schema.Schema{Hash: schema.Hash(set), Set: set})
	})
}

// TestPublisherPutsAgainWhatNATSLost restarts NATS without what it had.
func TestPublisherPutsAgainWhatNATSLost(t *testing.T) {
	srv := natstest.Start(t)
	_, js := srv.Connect()
	s, err := schema.Pack(schematest.Compile(t, "shop.proto", sources))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.Fetch(t.Context(), js, s.Hash); !errors.Is(err, schema.ErrMissing) {
		t.Errorf("before anything was published: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	p := schema.NewPublisher(js, slog.New(slog.NewTextHandler(t.Output(), nil)), s)
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-p.Published():
	case <-time.After(patience):
		t.Fatal("it was never published")
	}
	has(t, srv, s)
	srv.Stop()
	srv.Wipe()
	srv.Start()
	has(t, srv, s)
}

// has waits until the bucket holds a schema.
func has(t *testing.T, srv *natstest.Server, s schema.Schema) {
	t.Helper()
	_, js := srv.Connect()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got, err := schema.Fetch(t.Context(), js, s.Hash)
		if err == nil && bytes.Equal(got.Set, s.Set) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("bucket %s does not hold it: %v", kv.Schemas, err)
		}
	}
}
