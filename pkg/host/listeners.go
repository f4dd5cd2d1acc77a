package host

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Addresses is the key in a node's metadata of further addresses that its process listens on, with commas between.
const Addresses = "addresses"

// Listens notes an address on which this process listens, so that nothing is forwarded to it.
func (h *Host) Listens(a net.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listens = append(h.listens, Reachable(a)...)
}

// Own returns the addresses that Listens noted, as clients dial them.
func (h *Host) Own() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.listens)
}

// Listeners returns the addresses of the mesh that this process knows, "host:port": its own, those of the mesh's nodes in discovery,
// and those of NATS.
func (h *Host) Listeners() []string {
	out := h.Own()
	for _, s := range h.Nodes.Services() {
		for _, n := range s.Nodes {
			if !n.Stock() {
				out = append(append(out, n.Address), strings.FieldsFunc(n.Metadata[Addresses], func(r rune) bool { return r == ',' })...)
			}
		}
	}
	for _, raw := range h.NATS.Servers() {
		if u, err := url.Parse(raw); err == nil && u.Port() != "" {
			out = append(out, u.Host)
		}
	}
	return out
}

// Reachable returns an address as clients dial it. If it is every address of this machine, it returns those of the machine's interfaces,
// with loopback last.
func Reachable(a net.Addr) []string {
	listens, err := netip.ParseAddrPort(a.String())
	if err != nil || !listens.Addr().IsUnspecified() {
		return []string{a.String()}
	}
	var out, loopback []string
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return []string{a.String()} // a system that doesn't say
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
	return append(append(out, loopback...), a.String()) // which stands for all addresses of loopback
}
