// Package handler serves the registry's RPC API from its domain.
package handler

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
	rpcserver "micromesh/pkg/rpc/server"
	registrypb "micromesh/registry/proto"
	"micromesh/registry/service"
)

// Service is what the handler needs of the domain.
type Service interface {
	Register(ctx context.Context, by service.Caller, r service.Registration) (*service.Result, error)
	Remove(ctx context.Context, by service.Caller, id string) (service.Instance, error)
	List(by service.Caller, f service.Filter) []service.Instance

	SaveDefinition(ctx context.Context, by service.Caller, d service.Definition) error
	DeleteDefinition(ctx context.Context, by service.Caller, id string) error
	Definitions(ctx context.Context) ([]service.Definition, error)

	DeleteNode(ctx context.Context, url string) error
	Nodes(ctx context.Context, ids []string) ([]service.Node, error)
}

// Self tells of the node that this process runs on.
type Self interface {
	Node() service.Node
}

// Handler implements the generated interface. The server has checked by then that the caller may call at all; whose
// things are whose, the domain decides.
type Handler struct {
	svc     Service
	self    Self
	permits auth.Permits
}

var _ registrypb.RegistryServiceHandler = (*Handler)(nil)

// New makes a handler.
func New(svc Service, self Self, permits auth.Permits) *Handler { return &Handler{svc, self, permits} }

// caller returns the caller of a method. Others is the permission to make the call for things of other accounts.
func (h *Handler) caller(ctx context.Context, others string) service.Caller {
	c := auth.FromContext(ctx)
	if c == nil {
		return service.Caller{}
	}
	return service.Caller{UserID: c.UserID, Slug: c.Slug, Others: auth.Allow(c, others, h.permits) == nil}
}

// RegisterInstance implements registrypb.RegistryServiceHandler.
func (h *Handler) RegisterInstance(ctx context.Context, in *registrypb.RegisterInstanceRequest, out *registrypb.RegisterInstanceResponse) error {
	if in.Status != nil {
		return errs.Field("status", "read_only", "can't be set: the mesh looks itself how instances are")
	}
	if in.Weight != nil {
		return errs.Field("weight", "read_only", "can't be set: traffic is shared by load")
	}
	res, err := h.svc.Register(ctx, h.caller(ctx, "registry-svc:instance:edit"), service.Registration{
		Address: service.Address{URL: in.Url, Scheme: in.Scheme, Host: in.Host, IP: in.Ip, Path: in.Path, Port: in.Port},
		ID:      in.Id, Slug: in.Slug, DeploymentID: in.DeploymentId, HealthPath: in.HealthPath, Metadata: in.Metadata, Tags: in.Tags,
		Generation: in.Generation, Version2: version(ctx) == "2",
	})
	if err != nil {
		return err
	}
	if res.Changed {
		rpcserver.Await(ctx, routing.Await{Slug: res.Instance.Slug, Instance: res.Instance.ID, Target: res.Instance.URL.String()})
	}
	out.Id, out.Generation, out.LeaseSeconds = res.Instance.ID, res.Instance.Generation, int32(res.Lease.Seconds())
	if res.ProofKey != "" {
		out.ProofKey = &res.ProofKey
	}
	return nil
}

// version returns the version of the API that the caller speaks; empty is the first.
func version(ctx context.Context) string {
	if v := metadata.ValueFromIncomingContext(ctx, "mesh-api-version"); len(v) > 0 {
		return v[0]
	}
	return ""
}

// RemoveInstance implements registrypb.RegistryServiceHandler.
func (h *Handler) RemoveInstance(ctx context.Context, in *registrypb.RemoveInstanceRequest, _ *registrypb.RemoveInstanceResponse) error {
	gone, err := h.svc.Remove(ctx, h.caller(ctx, "registry-svc:instance:delete"), in.Id)
	if err != nil {
		return err
	}
	rpcserver.Await(ctx, routing.Await{Slug: gone.Slug, Instance: gone.ID, Target: gone.URL.String(), Gone: true})
	return nil
}

// ListInstances implements registrypb.RegistryServiceHandler.
func (h *Handler) ListInstances(ctx context.Context, in *registrypb.ListInstancesRequest, out *registrypb.ListInstancesResponse) error {
	all := h.svc.List(h.caller(ctx, "registry-svc:instance:view"), service.Filter{
		Scheme: in.Scheme, IP: in.Ip, DeploymentID: in.DeploymentId, Host: in.Host, ID: in.Id, Slug: in.Slug,
	})
	out.Instances = make([]*registrypb.Instance, len(all))
	for i := range all {
		out.Instances[i] = toInstance(&all[i])
	}
	return nil
}

// EchoGet implements registrypb.RegistryServiceHandler.
func (h *Handler) EchoGet(_ context.Context, in, out *structpb.Struct) error { return echo(in, out) }

// EchoPut implements registrypb.RegistryServiceHandler.
func (h *Handler) EchoPut(_ context.Context, in, out *structpb.Struct) error { return echo(in, out) }

// EchoPost implements registrypb.RegistryServiceHandler.
func (h *Handler) EchoPost(_ context.Context, in, out *structpb.Struct) error { return echo(in, out) }

func echo(in, out *structpb.Struct) error {
	out.Fields = in.GetFields()
	return nil
}

// SaveDefinition implements registrypb.RegistryServiceHandler.
func (h *Handler) SaveDefinition(ctx context.Context, in *registrypb.SaveDefinitionRequest, _ *registrypb.SaveDefinitionResponse) error {
	return h.svc.SaveDefinition(ctx, h.caller(ctx, "registry-svc:definition:edit"), fromDefinition(in.Definition))
}

// DeleteDefinition implements registrypb.RegistryServiceHandler.
func (h *Handler) DeleteDefinition(ctx context.Context, in *registrypb.DeleteDefinitionRequest, _ *registrypb.DeleteDefinitionResponse) error {
	return h.svc.DeleteDefinition(ctx, h.caller(ctx, "registry-svc:definition:delete"), in.Id)
}

// ListDefinitions implements registrypb.RegistryServiceHandler.
func (h *Handler) ListDefinitions(ctx context.Context, _ *registrypb.ListDefinitionsRequest, out *registrypb.ListDefinitionsResponse) error {
	all, err := h.svc.Definitions(ctx)
	for i := range all {
		out.Definitions = append(out.Definitions, toDefinition(&all[i]))
	}
	return err
}

// SelfNode implements registrypb.RegistryServiceHandler.
func (h *Handler) SelfNode(_ context.Context, _ *registrypb.NodeSelfRequest, out *registrypb.NodeSelfResponse) error {
	n := h.self.Node()
	out.Node = toNode(&n)
	return nil
}

// DeleteNode implements registrypb.RegistryServiceHandler.
func (h *Handler) DeleteNode(ctx context.Context, in *registrypb.DeleteNodeRequest, _ *registrypb.DeleteNodeResponse) error {
	return h.svc.DeleteNode(ctx, in.Url)
}

// ListNodes implements registrypb.RegistryServiceHandler.
func (h *Handler) ListNodes(ctx context.Context, in *registrypb.ListNodesRequest, out *registrypb.ListNodesResponse) error {
	all, err := h.svc.Nodes(ctx, in.Ids)
	for i := range all {
		out.Nodes = append(out.Nodes, toNode(&all[i]))
	}
	return err
}
