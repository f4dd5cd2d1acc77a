package app

import (
	"context"
	"strings"

	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/host"
)

// announce tells discovery where the gateway listens, until ctx ends: people find it there, and the registry lets no
// instance have such an address. While discovery is away it is told later.
func (a *App) announce(ctx context.Context) {
	var addresses []string
	for _, s := range a.servers {
		addresses = append(addresses, host.Reachable(s.ln.Addr())...)
	}
	metadata := map[string]string{"transport": "http"}
	if guests := a.guestsAddr(); guests != "" {
		metadata[discovery.Guests] = guests
		addresses = append(addresses, guests)
	}
	if a.stockNATS != nil {
		metadata[discovery.GuestsOverNATS] = "true"
	}
	addresses = append(addresses, a.host.Own()...)
	metadata[host.Addresses] = strings.Join(addresses, ",")
	s := &registry.Service{Name: Name, Version: host.Version, Nodes: []*registry.Node{{
		Id: Name + "-" + a.host.ID, Address: addresses[0], Metadata: metadata,
	}}}
	if err := a.host.Registry.Register(s); err != nil {
		a.log.Warn("announced_later", "error", err)
	}
	<-ctx.Done()
	if err := a.host.Registry.Deregister(s); err != nil {
		a.log.Info("still_announced", "error", err) // until its lease ends
	}
}
