package provision_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/internal/provision"
	"micromesh/pkg/logtest"
	"micromesh/pkg/rpc/server"
	"micromesh/pkg/schema/schematest"
)

// Basket is the handler of a service that comes later.
type Basket struct{}

// BasketMessage is what it takes and gives.
type BasketMessage struct {
	ID string `json:"id"`
}

func (Basket) Get(_ context.Context, in, out *BasketMessage) error {
	*out = *in
	return nil
}

const basketProto = `
	message Item { string id = 1; }
	service Basket { rpc Get(Item) returns (Item) { option (google.api.http) = {get: "/basket-svc/{id}"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`

// basket is a service with RPC as its own process would run it.
type basket struct{ *server.Server }

func (basket) Close() error { return nil }

// TestOtherServicesPublishTheirSchema runs one with the login and the certificate that it is given, behind a gateway of its own
// login: what both may do is enough.
func TestOtherServicesPublishTheirSchema(t *testing.T) {
	s := startNATS(t, provision.Other("basket-svc"))
	said := &logtest.Buffer{}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(said, t.Output()), &slog.HandlerOptions{Level: slog.LevelWarn}))
	url := runMesh(t, s, log)
	call(t, 404, "GET", url+"/basket-svc/1", "", nil)
	h := s.host(t, "basket-svc", log)
	ln, err := h.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Config{
		Name: "basket-svc", ID: h.ID, Listener: ln, Registry: h.Registry, Verifier: h.Verifier, Permits: h.Auth, Logger: log, Metrics: h.Metrics,
		Files: []protoreflect.FileDescriptor{schematest.File(t, "basket.v1", basketProto)}, JetStream: h.JS, Credentials: h.Credentials(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Handle(srv.NewHandler(Basket{})); err != nil {
		t.Fatal(err)
	}
	run(t, basket{srv})
	if got := call(t, 200, "GET", url+"/basket-svc/1", "", nil); got["id"] != "1" {
		t.Errorf("got %v", got)
	}
	if strings.Contains(strings.ToLower(said.String()), "permissions violation") {
		t.Errorf("a service was refused something:\n%s", said)
	}
}
