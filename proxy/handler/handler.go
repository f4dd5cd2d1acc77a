// Package handler serves the proxy's RPC API from its domain.
package handler

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"time"

	"micromesh/pkg/auth"
	"micromesh/pkg/routing"
	rpcserver "micromesh/pkg/rpc/server"
	proxypb "micromesh/proxy/proto"
	"micromesh/proxy/service"
)

// Service is what the handler needs of the domain.
type Service interface {
	SaveRoutes(ctx context.Context, actor string, routes []service.Route) ([]service.Route, error)
	Routes(ctx context.Context, ids []string) ([]service.Route, error)
	DeleteRoutes(ctx context.Context, actor string, ids []string) ([]service.Route, error)
	SaveCerts(ctx context.Context, actor string, certs []service.CertInput) error
	DeleteCerts(ctx context.Context, actor string, ids []string) error
	Certs(ctx context.Context, ids []string) ([]service.Cert, error)
}

// Handler implements the generated interface. The server has checked each caller by then.
type Handler struct {
	svc Service
}

var _ proxypb.ProxyServiceHandler = (*Handler)(nil)

// New makes a handler.
func New(svc Service) *Handler { return &Handler{svc} }

func actor(ctx context.Context) string {
	if c := auth.FromContext(ctx); c != nil {
		return c.UserID
	}
	return ""
}

// SaveRoutes implements proxypb.ProxyServiceHandler.
func (h *Handler) SaveRoutes(ctx context.Context, in *proxypb.SaveRoutesRequest, out *proxypb.SaveRoutesResponse) error {
	routes := make([]service.Route, len(in.Routes))
	for i, r := range in.Routes {
		routes[i] = service.Route{ID: r.GetId(), Target: r.GetTarget()}
	}
	saved, err := h.svc.SaveRoutes(ctx, actor(ctx), routes)
	if err != nil {
		return err
	}
	await := make([]routing.Await, len(saved))
	for i, r := range saved {
		await[i] = routing.Await{Host: r.ID, Target: r.Target}
	}
	rpcserver.Await(ctx, await...)
	out.Routes = toRoutes(saved)
	return nil
}

// ListRoutes implements proxypb.ProxyServiceHandler.
func (h *Handler) ListRoutes(ctx context.Context, in *proxypb.ListRoutesRequest, out *proxypb.ListRoutesResponse) error {
	routes, err := h.svc.Routes(ctx, in.Ids)
	out.Routes = toRoutes(routes)
	return err
}

// DeleteRoutes implements proxypb.ProxyServiceHandler.
func (h *Handler) DeleteRoutes(ctx context.Context, in *proxypb.DeleteRoutesRequest, _ *proxypb.DeleteRoutesResponse) error {
	gone, err := h.svc.DeleteRoutes(ctx, actor(ctx), in.Ids)
	if err != nil {
		return err
	}
	await := make([]routing.Await, len(gone))
	for i, r := range gone {
		await[i] = routing.Await{Host: r.ID, Gone: true}
	}
	rpcserver.Await(ctx, await...)
	return nil
}

func toRoutes(routes []service.Route) []*proxypb.Route {
	out := make([]*proxypb.Route, len(routes))
	for i, r := range routes {
		out[i] = &proxypb.Route{Id: cmp.Or(r.Shown, r.ID), Target: r.Target}
	}
	return out
}

// SaveCerts implements proxypb.ProxyServiceHandler.
func (h *Handler) SaveCerts(ctx context.Context, in *proxypb.SaveCertsRequest, _ *proxypb.SaveCertsResponse) error {
	certs := make([]service.CertInput, len(in.Certs))
	for i, c := range in.Certs {
		certs[i] = service.CertInput{ID: c.GetId(), PEM: c.GetCert()}
	}
	return h.svc.SaveCerts(ctx, actor(ctx), certs)
}

// DeleteCerts implements proxypb.ProxyServiceHandler.
func (h *Handler) DeleteCerts(ctx context.Context, in *proxypb.DeleteCertsRequest, _ *proxypb.DeleteCertsResponse) error {
	return h.svc.DeleteCerts(ctx, actor(ctx), in.GetIds())
}

// ListCerts implements proxypb.ProxyServiceHandler.
func (h *Handler) ListCerts(ctx context.Context, in *proxypb.ListCertsRequest, out *proxypb.ListCertsResponse) error {
	certs, err := h.svc.Certs(ctx, in.Ids)
	if err != nil {
		return err
	}
	for _, c := range certs {
		pb, err := toCert(&c)
		if err != nil {
			return fmt.Errorf("read certificate of %s: %w", c.ID, err)
		}
		out.Certs = append(out.Certs, pb)
	}
	return nil
}

func toCert(c *service.Cert) (*proxypb.Cert, error) {
	leaf, err := c.Leaf()
	if err != nil {
		return nil, err
	}
	return &proxypb.Cert{
		Id: c.ID, Cert: string(c.Chain), CommonName: leaf.Subject.CommonName, DnsNames: leaf.DNSNames, Issuer: leaf.Issuer.String(), IsCa: leaf.IsCA,
		NotBefore: stamp(leaf.NotBefore), NotAfter: stamp(leaf.NotAfter), SerialNumber: leaf.SerialNumber.String(),
		PublicKeyAlgorithm: leaf.PublicKeyAlgorithm.String(), PublicKeyBitLength: keyBits(leaf.PublicKey),
		SignatureAlgorithm: leaf.SignatureAlgorithm.String(), CreatedAt: stamp(c.CreatedAt), UpdatedAt: stamp(c.UpdatedAt),
	}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func keyBits(key any) int32 {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return int32(k.N.BitLen()) //nolint:gosec // the bit length of a key that was parsed
	case *ecdsa.PublicKey:
		return int32(k.Params().BitSize) //nolint:gosec // as above
	case ed25519.PublicKey:
		return int32(8 * len(k)) //nolint:gosec // as above
	}
	return 0
}
