package mesh_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go-micro.dev/v5/client"
	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"
	"go-micro.dev/v5/selector"
	"go-micro.dev/v5/server"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	userpb "micromesh/user/proto"
)

// guestClient is go-micro's own, as a program that was started with MICRO_REGISTRY=nats has it.
func guestClient(m *mesh.Mesh, contentType string) client.Client {
	r := natsregistry.NewNatsRegistry(registry.Addrs("nats://" + m.NATSAddr().String()))
	return client.NewClient(client.Registry(r), client.Selector(selector.NewSelector(selector.Registry(r))), client.Retries(0), client.ContentType(contentType),
		client.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))))
}

// as is a call's context with a caller's token; none where it is empty.
func as(t *testing.T, token string) context.Context {
	t.Helper()
	if token == "" {
		return t.Context()
	}
	return metadata.NewContext(t.Context(), metadata.Metadata{"Authorization": "Bearer " + token})
}

// code is the status that go-micro's error tells; 0 where there is none.
func code(err error) int32 {
	if err == nil {
		return 0
	}
	return merrors.Parse(err.Error()).Code
}

func TestGuestsCallTheMeshAsAnybodyDoes(t *testing.T) {
	m := start(t, t.TempDir(), joinable)
	web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
	joe, admin := web.Register(t, "joe"), web.Admin(t)
	for _, contentType := range []string{"application/json", "application/protobuf"} {
		t.Run(contentType, func(t *testing.T) {
			c := guestClient(m, contentType)
			users := userpb.NewUserService("user-svc", c)
			meshtest.Eventually(t, "user-svc is found", func() bool {
				_, err := users.GetPublicKey(t.Context(), &userpb.GetPublicKeyRequest{})
				return err == nil
			})
			for range 3 { // over one connection, on which nobody is taken for who called before
				self, err := users.ReadSelf(as(t, joe), &userpb.ReadSelfRequest{})
				if err != nil || self.User.Slug != "joe" {
					t.Fatalf("joe is %v, %v", self, err)
				}
				if _, err := users.ReadSelf(t.Context(), &userpb.ReadSelfRequest{}); code(err) != http.StatusUnauthorized {
					t.Errorf("nobody is told who he is: %v", err)
				}
			}
			if _, err := users.ReadSelf(as(t, joe[:len(joe)-8]+"AAAAAAAA"), &userpb.ReadSelfRequest{}); code(err) != http.StatusUnauthorized {
				t.Errorf("a forged token is good: %v", err)
			}
			if _, err := users.ListUsers(as(t, joe), &userpb.ListUsersRequest{}); code(err) != http.StatusForbidden {
				t.Errorf("joe lists everybody: %v", err)
			}
			if list, err := users.ListUsers(as(t, admin), &userpb.ListUsersRequest{}); err != nil || len(list.Users) == 0 {
				t.Errorf("the admin lists %v, %v", list, err)
			}
			_, err := users.Register(t.Context(), &userpb.RegisterRequest{AppHost: "unnamed", Slug: "joe", Password: "password-of-joe"})
			if code(err) != http.StatusConflict || merrors.Parse(err.Error()).Id != "user-svc" {
				t.Errorf("joe is registered twice: %v", err)
			}
			if err := c.Call(t.Context(), c.NewRequest("user-svc", "UserService.Drop", &userpb.ReadSelfRequest{}), &userpb.ReadSelfResponse{}); code(err) != http.StatusNotFound {
				t.Errorf("a method that there is not: %v", err)
			}
		})
	}
}

// What guests see of the mesh is what is called through the gateway: no address of a service itself, and no gateway.
func TestGuestsFindTheMeshAtItsGateway(t *testing.T) {
	m := start(t, t.TempDir(), joinable)
	serve(t, m, "greeter", server.NewRPCServer)
	r := natsregistry.NewNatsRegistry(registry.Addrs("nats://" + m.NATSAddr().String()))
	names := func() string {
		all, err := r.ListServices()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range all {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	for _, want := range []string{"user-svc", "registry-svc", "proxy-svc", "greeter"} {
		meshtest.Eventually(t, want+" is listed", func() bool { return strings.Contains(names(), want) })
	}
	if strings.Contains(names(), "gateway-svc") {
		t.Error("the gateway is listed: it has no methods")
	}
	found, err := r.GetService("user-svc")
	if err != nil || len(found) != 1 || len(found[0].Nodes) != 1 {
		t.Fatalf("user-svc is %+v, %v", found, err)
	}
	address := found[0].Nodes[0].Address
	for _, n := range m.Host.Nodes.Lookup("user-svc").Nodes {
		if n.Address == address || n.Stock() {
			t.Errorf("guests call user-svc at %s itself", address)
		}
	}
	rsp, err := http.Get("http://" + address + "/user-svc/public-key")
	if err != nil {
		t.Fatal(err)
	}
	_ = rsp.Body.Close()
	if _, port, err := net.SplitHostPort(address); rsp.StatusCode != http.StatusNotFound || err != nil || strings.HasSuffix(m.Addr().String(), ":"+port) {
		t.Errorf("the HTTP API is there too, at %s: %s, %v", address, rsp.Status, err)
	}
}
