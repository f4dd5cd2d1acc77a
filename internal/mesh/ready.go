package mesh

import (
	"context"

	"micromesh/pkg/errs"
)

// probes are calls that each service answers to anybody: with a result, or with "sign in first".
var probes = []struct{ service, endpoint string }{
	{"user-svc", "UserService.GetPublicKey"},
	{"registry-svc", "RegistryService.EchoGet"},
	{"proxy-svc", "ProxyService.ListRoutes"},
}

func (m *Mesh) unready(ctx context.Context) error {
	for _, p := range probes {
		_, _, err := m.Host.RPC.Raw(ctx, p.service, p.endpoint, "json", []byte("{}"), nil)
		if err != nil && !errs.Is(err, errs.Unauthenticated) {
			return err
		}
	}
	return m.gate.Ready(ctx)
}
