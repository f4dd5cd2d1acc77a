package meshtest

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/discovery"
	"micromesh/pkg/kv"
	"micromesh/pkg/rpc/server"
)

// Serve runs an RPC service beside the mesh until stop is called or the test ends. The handler's methods are those that the
// file describes; it may take and give plain structs, since the gateway speaks JSON.
func (m *Mesh) Serve(t testing.TB, slug string, file protoreflect.FileDescriptor, handler any) (stop func()) {
	t.Helper()
	return m.ServeAs(t, slug, file, handler, nil)
}

// ServeAs is Serve with metadata of the node.
func (m *Mesh) ServeAs(t testing.TB, slug string, file protoreflect.FileDescriptor, handler any, metadata map[string]string) (stop func()) {
	t.Helper()
	h := m.Host
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ln, err := h.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var creds credentials.TransportCredentials
	nodes := h.Registry
	if m.identity != nil {
		own := m.identity(slug)
		signing, err := discovery.New(h.JS, discovery.Config{Bucket: kv.Nodes}, discovery.WithSeal(h.Seal()), discovery.WithVoucher(own))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = signing.Close() })
		creds, nodes = own.Server(), signing
	}
	srv, err := server.New(server.Config{
		Name: slug, ID: rand.Text()[:12], Listener: ln, Registry: nodes, Verifier: h.Verifier, Permits: h.Auth, Logger: Logger(t),
		Metrics: h.Metrics, Files: []protoreflect.FileDescriptor{file}, JetStream: h.JS, Credentials: creds, Metadata: metadata,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Handle(srv.NewHandler(handler)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}
