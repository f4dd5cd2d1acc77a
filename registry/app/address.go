package app

import (
	"maps"
	"net"
	"net/netip"
	"net/url"

	"micromesh/pkg/discovery"
	"micromesh/pkg/host"
	"micromesh/pkg/netpolicy"
	"micromesh/registry/service"
)

// rpcNodes is discovery as the domain sees it.
type rpcNodes struct {
	nodes *discovery.Registry
}

var _ service.Nodes = rpcNodes{}

// RPCNodes implements service.Nodes.
func (r rpcNodes) RPCNodes() []service.RPCNode {
	var out []service.RPCNode
	for _, s := range r.nodes.Services() {
		for _, n := range s.Nodes {
			out = append(out, service.RPCNode{
				ID: n.ID, Service: s.Name, Address: n.Address, Metadata: withVersion(n), HTTP: n.Metadata["transport"] == "http" || n.Web(), NATS: n.Stock() && n.Transport() == "nats", Foreign: n.Stock(),
			})
		}
	}
	return out
}

// withVersion is the metadata of a node, with the version of its service.
func withVersion(n *discovery.Node) map[string]string {
	if n.Version == "" || n.Metadata["version"] != "" {
		return n.Metadata
	}
	md := maps.Clone(n.Metadata)
	if md == nil {
		md = map[string]string{}
	}
	md["version"] = n.Version
	return md
}

// network is the policy for addresses that accounts name, as the domain sees it.
type network struct {
	*netpolicy.Policy
}

var _ service.Network = network{}

// Addr implements service.Network.
func (n network) Addr(a netip.Addr) error { return n.Policy.Addr(netpolicy.Account, a) }

// newNetwork makes the policy. The databases that the registry is connected to are addresses of the mesh, too.
func newNetwork(cfg Config, h *host.Host) (network, error) {
	networks, err := netpolicy.ParseNetworks(cfg.InstanceNetworks)
	if err != nil {
		return network{}, err
	}
	more := append([]string(nil), cfg.Reserved...)
	for _, raw := range []string{cfg.DatabaseURL, cfg.StockNATS} {
		if at := hostPort(raw); at != "" {
			more = append(more, at)
		}
	}
	listeners := func() []string { return append(h.Listeners(), more...) }
	return network{netpolicy.New(netpolicy.Config{Networks: networks, Listeners: listeners})}, nil
}

// hostPort returns the address in a URL, or nothing, as for an SQLite file.
func hostPort(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	port := u.Port()
	if port == "" && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		port = "5432"
	}
	if port == "" {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// guestAddress returns the reason why a service in plain go-micro can't have an address, or nothing.
func (n network) guestAddress(hostPort string) string {
	if n.Reserved(hostPort) {
		return "its address is one of the mesh itself"
	}
	if at, err := netip.ParseAddrPort(hostPort); err == nil {
		if err := n.Addr(at.Addr()); err != nil {
			return "its address " + err.Error()
		}
	}
	return ""
}
