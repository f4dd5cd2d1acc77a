package app

import (
	"context"
	"net"
	"net/netip"
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
		addresses = append(addresses, reachable(s.ln.Addr())...)
	}
	metadata := map[string]string{"transport": "http"}
	if guests := a.guestsAddr(); guests != "" {
		metadata[discovery.Guests] = guests
		addresses = append(addresses, guests)
	}
	metadata["addresses"] = strings.Join(addresses, ",")
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

// reachable is an address as clients dial it; where that is every address of this machine, those of its interfaces, with
// loopback last.
func reachable(a net.Addr) []string {
	listens, err := netip.ParseAddrPort(a.String())
	if err != nil || !listens.Addr().IsUnspecified() {
		return []string{a.String()}
	}
	var out, loopback []string
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return []string{a.String()} // a system that doesn't tell
	}
	for _, i := range interfaces {
		p, err := netip.ParsePrefix(i.String())
		if err != nil {
			continue
		}
		at := netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), listens.Port()).String()
		if p.Addr().IsLoopback() {
			loopback = append(loopback, at)
		} else if !p.Addr().IsLinkLocalUnicast() {
			out = append(out, at)
		}
	}
	return append(out, loopback...)
}
