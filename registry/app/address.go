package app

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/discovery"
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
				ID: n.ID, Service: s.Name, Address: n.Address, Metadata: n.Metadata,
				Others: strings.FieldsFunc(n.Metadata["addresses"], func(r rune) bool { return r == ',' }), HTTP: n.Metadata["transport"] == "http",
				Foreign: n.Stock(),
			})
		}
	}
	return out
}

// reserved adds to the addresses that no instance may have those of the parts that this process is connected to, and
// where one listens on all of this machine's addresses, each of those.
func reserved(configured []string, nc *nats.Conn, urls ...string) []string {
	all := append([]string(nil), configured...)
	for _, raw := range append(nc.Servers(), urls...) {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" {
			continue // an SQLite file
		}
		port := u.Port()
		if port == "" && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
			port = "5432"
		}
		if port != "" {
			all = append(all, net.JoinHostPort(u.Hostname(), port))
		}
	}
	var out []string
	for _, a := range all {
		out = append(out, a)
		host, port, err := net.SplitHostPort(a)
		if err != nil || !everywhere(host) {
			continue
		}
		for _, ip := range ownAddresses() {
			out = append(out, net.JoinHostPort(ip, port))
		}
	}
	return out
}

func everywhere(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

func ownAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a system that doesn't tell
	}
	var out []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone("").String())
		}
	}
	return out
}
