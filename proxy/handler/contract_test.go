package handler_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go-micro.dev/v5/client"
	"google.golang.org/protobuf/testing/protocmp"

	"micromesh/pkg/errs"
	"micromesh/proxy/handler"
	proxypb "micromesh/proxy/proto"
	"micromesh/proxy/proto/fakes"
	"micromesh/proxy/service"
)

// memory is the domain in memory.
type memory struct{ routes []service.Route }

func (m *memory) SaveRoutes(_ context.Context, _ string, routes []service.Route) ([]service.Route, error) {
	if routes[0].ID == "bad" {
		return nil, errs.Invalidf("bad")
	}
	m.routes = append(m.routes, routes...)
	return routes, nil
}

func (m *memory) Routes(context.Context, []string) ([]service.Route, error) { return m.routes, nil }

func (m *memory) DeleteRoutes(context.Context, string, []string) ([]service.Route, error) {
	gone := m.routes
	m.routes = nil
	return gone, nil
}

func (m *memory) SaveCerts(context.Context, string, []service.CertInput) error { return nil }

func (m *memory) DeleteCerts(context.Context, string, []string) error { return nil }

func (m *memory) Certs(context.Context, []string) ([]service.Cert, error) { return nil, nil }

// TestFakeClientPromisesWhatTheHandlerDoes runs one set of cases against the fake, as callers of the proxy program it
// in their tests, and against the handler.
func TestFakeClientPromisesWhatTheHandlerDoes(t *testing.T) {
	h := handler.New(&memory{})
	actual := &fakes.ProxyService{}
	actual.SaveRoutesStub = func(ctx context.Context, in *proxypb.SaveRoutesRequest, _ ...client.CallOption) (*proxypb.SaveRoutesResponse, error) {
		out := &proxypb.SaveRoutesResponse{}
		return out, h.SaveRoutes(ctx, in, out)
	}
	actual.ListRoutesStub = func(ctx context.Context, in *proxypb.ListRoutesRequest, _ ...client.CallOption) (*proxypb.ListRoutesResponse, error) {
		out := &proxypb.ListRoutesResponse{}
		return out, h.ListRoutes(ctx, in, out)
	}
	fake := &fakes.ProxyService{}
	routes := []*proxypb.Route{{Id: "a.example.com", Target: "http://10.0.0.1:80"}}
	fake.SaveRoutesStub = func(_ context.Context, in *proxypb.SaveRoutesRequest, _ ...client.CallOption) (*proxypb.SaveRoutesResponse, error) {
		if in.Routes[0].Id == "bad" {
			return nil, errs.Invalidf("bad")
		}
		return &proxypb.SaveRoutesResponse{Routes: routes}, nil
	}
	fake.ListRoutesReturns(&proxypb.ListRoutesResponse{Routes: routes}, nil)
	for name, c := range map[string]*fakes.ProxyService{"fake": fake, "handler": actual} {
		t.Run(name, func(t *testing.T) {
			var svc proxypb.ProxyService = c
			saved, err := svc.SaveRoutes(t.Context(), &proxypb.SaveRoutesRequest{Routes: []*proxypb.RouteInput{{Id: "a.example.com", Target: "http://10.0.0.1:80"}}})
			if err != nil || cmp.Diff(routes, saved.Routes, protocmp.Transform()) != "" {
				t.Errorf("saved %v, %v", saved, err)
			}
			listed, err := svc.ListRoutes(t.Context(), &proxypb.ListRoutesRequest{})
			if err != nil || cmp.Diff(routes, listed.Routes, protocmp.Transform()) != "" {
				t.Errorf("listed %v, %v", listed, err)
			}
			if _, err := svc.SaveRoutes(t.Context(), &proxypb.SaveRoutesRequest{Routes: []*proxypb.RouteInput{{Id: "bad"}}}); !errs.Is(err, errs.Invalid) {
				t.Errorf("a bad route: %v, want Invalid", err)
			}
			if c.SaveRoutesCallCount() != 2 || c.ListRoutesCallCount() != 1 {
				t.Errorf("%d and %d calls", c.SaveRoutesCallCount(), c.ListRoutesCallCount())
			}
		})
	}
}
