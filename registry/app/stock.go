package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/host"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/rpc/identity"
	"micromesh/registry/stock"
)

// ownSlugs are those of the mesh's own services, whether they run or not.
var ownSlugs = []string{"user-svc", Name, "proxy-svc", "gateway-svc", "forwarder-svc"}

// openStock opens the bridge to services written with plain go-micro; nil where there is none. Nobody waits for their NATS server.
func openStock(ctx context.Context, url string, h *host.Host, a *App) (*stock.Bridge, *nats.Conn, error) {
	if url == "" {
		return nil, nil, nil
	}
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: url, Name: Name + "-stock", Logger: a.Log, Later: true, Extra: stockOptions(url, h.Identity())})
	if err != nil {
		return nil, nil, err
	}
	taken := func() map[string]bool {
		names := a.svc.Taken()
		for _, s := range ownSlugs {
			names[s] = true
		}
		return names
	}
	return stock.New(stock.Config{
		NATS: nc, Nodes: h.Nodes, Taken: taken, Address: a.network.guestAddress, Owner: a.ownerOf(h), Logins: strings.Contains(url, "@"), Logger: a.Log,
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

// stockOptions are where answers go, and how a server that speaks TLS is verified.
func stockOptions(url string, id *identity.Identity) []nats.Option {
	opts := []nats.Option{nats.CustomInboxPrefix("_INBOX_" + Name)}
	if id != nil && strings.HasPrefix(url, "tls:") {
		opts = append(opts, nats.ClientTLSConfig(
			func() (tls.Certificate, error) { return id.TLS().Certificates[0], nil },
			func() (*x509.CertPool, error) { return id.TLS().RootCAs, nil },
		))
	}
	return opts
}
