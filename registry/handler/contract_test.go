package handler_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/client"
	"google.golang.org/protobuf/types/known/structpb"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/registry/handler"
	"micromesh/registry/proto/fakes"
	"micromesh/registry/service"
	"micromesh/registry/store"
	"micromesh/registry/subscriber"

	registrypb "micromesh/registry/proto"
)

// TestContract runs the same cases on the real handler and on the fake that tests of other services use in its place:
// what they rely on must be so.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(*testing.T) registrypb.RegistryService{"real": realClient, "fake": fakeClient} {
		t.Run(name, func(t *testing.T) {
			c := &contract{T: t, client: open(t)}
			c.register()
			c.list()
			c.remove()
			c.definitions()
		})
	}
}

type contract struct {
	*testing.T
	client registrypb.RegistryService
}

const url = "http://127.9.0.1:80"

// as is a context of the account with a slug.
func (c *contract) as(slug string) context.Context {
	return auth.NewContext(c.Context(), &auth.Claims{UserID: "usr_" + slug, Slug: slug}, "")
}

func (c *contract) fails(what string, err error, kind errs.Kind) {
	c.Helper()
	if !errs.Is(err, kind) {
		c.Errorf("%s: %v, want %s", what, err, kind.Code())
	}
}

func (c *contract) register() {
	reg := func(as string, in *registrypb.RegisterInstanceRequest) (*registrypb.RegisterInstanceResponse, error) {
		return c.client.RegisterInstance(c.as(as), in)
	}
	for range 2 { // the second is a heartbeat
		out, err := reg("pets", &registrypb.RegisterInstanceRequest{Id: "pets-1", Url: url})
		if err != nil || out.GetId() != "pets-1" || out.GetGeneration() != 1 || out.GetLeaseSeconds() != 30 {
			c.Fatalf("register: %v, %v", out, err)
		}
	}
	_, err := reg("shop", &registrypb.RegisterInstanceRequest{Url: url})
	c.fails("register another's URL", err, errs.Conflict)
	_, err = reg("shop", &registrypb.RegisterInstanceRequest{Id: "pets-1", Url: "http://127.9.0.2:80"})
	c.fails("register another's id", err, errs.Forbidden)
	_, err = reg("shop", &registrypb.RegisterInstanceRequest{Url: "ftp://127.9.0.2"})
	c.fails("register a URL of another kind", err, errs.Invalid)
	_, err = reg("shop", &registrypb.RegisterInstanceRequest{Url: "http://127.9.0.2", Status: structpb.NewStringValue("Healthy")})
	c.fails("register a status", err, errs.Invalid)
	_, err = reg("shop", &registrypb.RegisterInstanceRequest{Url: "http://127.9.0.2", Weight: structpb.NewNumberValue(1)})
	c.fails("register a weight", err, errs.Invalid)
}

func (c *contract) list() {
	out, err := c.client.ListInstances(c.as("pets"), &registrypb.ListInstancesRequest{})
	if err != nil || len(out.GetInstances()) != 1 {
		c.Fatalf("list: %v, %v", out, err)
	}
	in := out.GetInstances()[0]
	if in.GetId() != "pets-1" || in.GetSlug() != "pets" || in.GetUrl() != url || in.GetPort() != 80 || in.GetScheme() != "http" || in.GetIp() != "127.9.0.1" || in.GetStatus() != "Unknown" {
		c.Errorf("instance %v", in)
	}
	if _, err := time.Parse(time.RFC3339, in.GetLastHeartbeat()); err != nil {
		c.Errorf("the last heartbeat is no time: %v", err)
	}
	if out, err := c.client.ListInstances(c.as("shop"), &registrypb.ListInstancesRequest{}); err != nil || len(out.GetInstances()) != 0 {
		c.Errorf("a stranger is shown %v, %v", out, err)
	}
}

func (c *contract) remove() {
	remove := func(as, id string) error {
		_, err := c.client.RemoveInstance(c.as(as), &registrypb.RemoveInstanceRequest{Id: id})
		return err
	}
	c.fails("remove another's", remove("shop", "pets-1"), errs.Forbidden)
	c.fails("remove nothing", remove("shop", "none"), errs.NotFound)
	if err := remove("pets", "pets-1"); err != nil {
		c.Error(err)
	}
}

func (c *contract) definitions() {
	save := func(as, id string) error {
		_, err := c.client.SaveDefinition(c.as(as), &registrypb.SaveDefinitionRequest{Definition: &registrypb.Definition{Id: id}})
		return err
	}
	if err := save("pets", "pets"); err != nil {
		c.Error(err)
	}
	c.fails("save another's definition", save("shop", "pets"), errs.Forbidden)
	out, err := c.client.ListDefinitions(c.as("shop"), &registrypb.ListDefinitionsRequest{})
	if err != nil || len(out.GetDefinitions()) != 1 || out.GetDefinitions()[0].GetId() != "pets" {
		c.Errorf("definitions %v, %v", out, err)
	}
	_, err = c.client.DeleteDefinition(c.as("shop"), &registrypb.DeleteDefinitionRequest{Id: "pets"})
	c.fails("delete another's definition", err, errs.Forbidden)
}

// outside is what the registry looks at, and shows itself to.
type outside struct{}

func (outside) Check(context.Context, routing.URL, string) service.Health { return service.Health{} }
func (outside) Prove(context.Context, routing.URL, string, ...[]byte) service.Health {
	return service.Health{}
}
func (outside) Changed(string, string)      {}
func (outside) Displaced(string, string)    {}
func (outside) RPCNodes() []service.RPCNode { return nil }
func (outside) Mine(string) bool            { return true }
func (outside) Alone() bool                 { return true }
func (outside) Hears() bool                 { return true }
func (outside) Tell(...string)              {}
func (outside) Addr(netip.Addr) error       { return nil }
func (outside) Reserved(string) bool        { return false }
func (outside) Node() service.Node          { return service.Node{} }

func (outside) Permitted(*auth.Claims, string) bool { return false }
func (outside) Permissions(*auth.Claims) []string   { return nil }

// realClient calls the handler without a network.
func realClient(t *testing.T) registrypb.RegistryService {
	t.Helper()
	st, err := store.New(t.Context(), sqldbtest.Open(t, sqldbtest.SQLiteURL(t)), subscriber.Encode)
	if err != nil {
		t.Fatal(err)
	}
	cfg := service.Config{Lease: 30 * time.Second, CheckInterval: time.Second, MaxInstances: 10, Now: time.Now}
	svc, err := service.New(t.Context(), cfg, st, outside{}, outside{}, outside{}, outside{}, outside{})
	if err != nil {
		t.Fatal(err)
	}
	h := handler.New(svc, outside{}, outside{})
	f := &fakes.RegistryService{}
	f.RegisterInstanceStub = calling(h.RegisterInstance)
	f.ListInstancesStub = calling(h.ListInstances)
	f.RemoveInstanceStub = calling(h.RemoveInstance)
	f.SaveDefinitionStub = calling(h.SaveDefinition)
	f.ListDefinitionsStub = calling(h.ListDefinitions)
	f.DeleteDefinitionStub = calling(h.DeleteDefinition)
	return f
}

func calling[In, Out any](handle func(context.Context, *In, *Out) error) func(context.Context, *In, ...client.CallOption) (*Out, error) {
	return func(ctx context.Context, in *In, _ ...client.CallOption) (*Out, error) {
		out := new(Out)
		if err := handle(ctx, in, out); err != nil {
			return nil, err
		}
		return out, nil
	}
}

// fakeClient is the fake as a test of another service sets it up: pets has an instance, and a definition.
func fakeClient(*testing.T) registrypb.RegistryService {
	f := &fakes.RegistryService{}
	slug := func(ctx context.Context) string { return auth.FromContext(ctx).Slug }
	f.RegisterInstanceStub = func(ctx context.Context, in *registrypb.RegisterInstanceRequest, _ ...client.CallOption) (*registrypb.RegisterInstanceResponse, error) {
		switch {
		case in.Status != nil || in.Weight != nil || !strings.HasPrefix(in.GetUrl(), "http"):
			return nil, errs.Invalidf("no")
		case slug(ctx) != "pets" && in.GetId() == "pets-1":
			return nil, errs.Forbiddenf("not yours")
		case slug(ctx) != "pets" && in.GetUrl() == url:
			return nil, errs.Conflictf("taken")
		}
		return &registrypb.RegisterInstanceResponse{Id: "pets-1", Generation: 1, LeaseSeconds: 30}, nil
	}
	f.ListInstancesStub = func(ctx context.Context, _ *registrypb.ListInstancesRequest, _ ...client.CallOption) (*registrypb.ListInstancesResponse, error) {
		if slug(ctx) != "pets" {
			return &registrypb.ListInstancesResponse{}, nil
		}
		return &registrypb.ListInstancesResponse{Instances: []*registrypb.Instance{{
			Id: "pets-1", Slug: "pets", Url: url, Scheme: "http", Ip: "127.9.0.1", Port: 80, Status: "Unknown", LastHeartbeat: "2026-01-02T03:04:05Z",
		}}}, nil
	}
	f.RemoveInstanceStub = func(ctx context.Context, in *registrypb.RemoveInstanceRequest, _ ...client.CallOption) (*registrypb.RemoveInstanceResponse, error) {
		switch {
		case in.GetId() != "pets-1":
			return nil, errs.NotFoundf("none")
		case slug(ctx) != "pets":
			return nil, errs.Forbiddenf("not yours")
		}
		return &registrypb.RemoveInstanceResponse{}, nil
	}
	f.SaveDefinitionStub = func(ctx context.Context, in *registrypb.SaveDefinitionRequest, _ ...client.CallOption) (*registrypb.SaveDefinitionResponse, error) {
		if slug(ctx) != in.GetDefinition().GetId() {
			return nil, errs.Forbiddenf("not yours")
		}
		return &registrypb.SaveDefinitionResponse{}, nil
	}
	f.ListDefinitionsReturns(&registrypb.ListDefinitionsResponse{Definitions: []*registrypb.Definition{{Id: "pets"}}}, nil)
	f.DeleteDefinitionReturns(nil, errs.Forbiddenf("not yours"))
	return f
}
