package host

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"micromesh/pkg/ident"
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
// and those of NATS. Where processes have certificates, only nodes of the mesh's own services count: any other service could block the
// instances of others by naming their addresses.
func (h *Host) Listeners() []string {
	out := h.Own()
	for _, s := range h.Nodes.Services() {
		if h.cfg.Identity != nil && !ident.Own(s.Name) {
			continue
		}
		for _, n := range s.Nodes {
			if !n.Stock() {
				out = append(append(out, n.Address), strings.FieldsFunc(n.Metadata[Addresses], func(r rune) bool { return r == ',' })...)
			}
		}
	}
	return append(out, h.servers.get(h.NATS.Servers)...)
}

// natsServers are the addresses of NATS, as of a moment ago. nats.go holds a lock while it dials a server that is away, and health checks and
// requests must not wait for that.
type natsServers struct {
	known   atomic.Pointer[[]string]
	reading atomic.Bool
	last    atomic.Int64 // when they were read: Unix time in nanoseconds
}

const serversFor = 10 * time.Second // they are read again after it

// get returns the addresses that are known, and has them read again now and then.
func (s *natsServers) get(read func() []string) []string {
	known := s.known.Load()
	if known == nil {
		s.read(read)
		return *s.known.Load()
	}
	if time.Since(time.Unix(0, s.last.Load())) > serversFor && s.reading.CompareAndSwap(false, true) {
		go func() {
			defer s.reading.Store(false)
			s.read(read)
		}()
	}
	return *known
}

func (s *natsServers) read(from func() []string) {
	out := []string{}
	for _, raw := range from() {
		if u, err := url.Parse(raw); err == nil && u.Port() != "" {
			out = append(out, u.Host)
		}
	}
	s.known.Store(&out)
	s.last.Store(time.Now().UnixNano())
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
