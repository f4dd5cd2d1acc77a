package server_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/registry"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/host"
	"micromesh/pkg/natsconn/natstest"
	rpcserver "micromesh/pkg/rpc/server"
	"micromesh/pkg/schema"
	"micromesh/pkg/schema/schematest"
	"micromesh/pkg/secret"
	userpb "micromesh/user/proto"
)

// serveFiles runs a server of files on a NATS server, and gives its node once discovery knows it.
func serveFiles(t *testing.T, srv *natstest.Server, files ...protoreflect.FileDescriptor) (*host.Host, *registry.Node) {
	t.Helper()
	nc, _ := srv.Connect()
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(t.Context(), host.Config{NATS: nc, Secrets: box, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := h.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpcserver.New(rpcserver.Config{
		Name: "user-svc", ID: "1", Listener: ln, Registry: h.Registry, Verifier: h.Verifier, Permits: h.Auth, Metrics: h.Metrics,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Files: files, JetStream: h.JS,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if services, err := h.Registry.GetService("user-svc"); err == nil && len(services) > 0 {
			return h, services[0].Nodes[0]
		}
		if time.Now().After(deadline) {
			t.Fatal("the node never came into discovery")
		}
	}
}

func TestNodesNameTheirSchema(t *testing.T) {
	srv := natstest.Start(t)
	before := time.Now().UnixMilli()
	h, node := serveFiles(t, srv, userpb.File_user_v1_user_proto)
	want, err := schema.Pack(userpb.File_user_v1_user_proto)
	if err != nil {
		t.Fatal(err)
	}
	if got := node.Metadata[schema.NodeHash]; got != want.Hash {
		t.Errorf("the node names %q, want %s", got, want.Hash)
	}
	if since, err := strconv.ParseInt(node.Metadata[schema.NodeSince], 10, 64); err != nil || since < before || since > time.Now().UnixMilli() {
		t.Errorf("it began at %q", node.Metadata[schema.NodeSince])
	}
	// Whoever hears of the node finds the schema.
	got, err := schema.Fetch(t.Context(), h.JS, want.Hash)
	if err != nil {
		t.Fatal(err)
	}
	files, err := schema.Open(got)
	if err != nil || files[len(files)-1].Services().ByName("UserService") == nil {
		t.Errorf("the schema has no UserService: %v", err)
	}
}

func TestServersWithoutHTTPPublishNothing(t *testing.T) {
	_, node := serveFiles(t, natstest.Start(t), schematest.File(t, "plain", `
		message M {} service Plain { rpc Get(M) returns (M) { option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`))
	if h, ok := node.Metadata[schema.NodeHash]; ok {
		t.Errorf("the node names schema %q", h)
	}
}

func TestSchemaThatIsTooLargeIsRefused(t *testing.T) {
	file := schematest.File(t, "big", `
		// `+strings.Repeat("x", schema.MaxSize/2)+`
		message M {}
		// `+strings.Repeat("y", schema.MaxSize/3)+`
		service Big { rpc Get(M) returns (M) { option (google.api.http) = {get: "/user-svc/x"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`)
	other := schematest.File(t, "more", "// "+strings.Repeat("z", schema.MaxSize/2)+"\nmessage M {}")
	nc, _ := natstest.Start(t).Connect()
	h, err := host.New(t.Context(), host.Config{NATS: nc, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	ln, err := h.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = rpcserver.New(rpcserver.Config{
		Name: "user-svc", ID: "1", Listener: ln, Registry: h.Registry, Verifier: h.Verifier, Permits: h.Auth, Metrics: h.Metrics,
		Logger: slog.New(slog.DiscardHandler), Files: []protoreflect.FileDescriptor{file, other}, JetStream: h.JS,
	})
	if err == nil || !strings.Contains(err.Error(), "describe user-svc: the descriptors have ") {
		t.Errorf("got %v", err)
	}
}
