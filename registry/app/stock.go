package app

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/host"
	"micromesh/registry/stock"
)

// ownSlugs are those of the mesh's own services, whether they run or not.
var ownSlugs = []string{"user-svc", Name, "proxy-svc", "gateway-svc", "forwarder-svc"}

// openStock opens the bridge to services written with plain go-micro; nil where there is none. Nobody waits for their NATS server.
func openStock(ctx context.Context, url string, h *host.Host, a *App) (*stock.Bridge, *nats.Conn, error) {
	if url == "" {
		return nil, nil, nil
	}
	nc, err := h.ConnectGuests(ctx, url, Name)
	if err != nil {
		return nil, nil, err
	}
	h.Nodes.SealGuests(h.Keeper(Name).Seal())
	taken := func() map[string]bool {
		names := a.svc.Taken()
		for _, s := range ownSlugs {
			names[s] = true
		}
		return names
	}
	return stock.New(stock.Config{
		NATS: nc, Nodes: h.Nodes, Taken: taken, Address: a.network.guestAddress, Refusals: h.Nodes, OverNATS: func() bool { return overNATS(h.Nodes) }, Owner: a.ownerOf(h), Logins: strings.Contains(url, "@"), Logger: a.Log,
		Offers: func() []*registry.Service { return offers(h.Nodes) },
	}), nc, nil
}

// offers are the mesh's services, at the addresses by which gateways let guests call them; none where no gateway does.
func offers(nodes *discovery.Registry) []*registry.Service {
	addresses := map[string]string{}
	if gateways := nodes.Lookup("gateway-svc"); gateways != nil {
		for _, n := range gateways.Nodes {
			if a := n.Metadata[discovery.Guests]; a != "" && !n.Stock() {
				addresses[n.ID] = a
			}
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	var out []*registry.Service
	for _, s := range nodes.Services() {
		if slices.ContainsFunc(s.Nodes, func(n *discovery.Node) bool { return !n.Stock() && n.Metadata["transport"] != "http" }) {
			out = append(out, stock.Offer(s.Name, host.Version, addresses))
		}
	}
	return out
}

// overNATS reports whether a gateway calls services on go-micro's NATS transport.
func overNATS(nodes *discovery.Registry) bool {
	gateways := nodes.Lookup("gateway-svc")
	return gateways != nil && slices.ContainsFunc(gateways.Nodes, func(n *discovery.Node) bool { return n.Metadata[discovery.GuestsOverNATS] != "" })
}
