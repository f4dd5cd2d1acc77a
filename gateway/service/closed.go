package service

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Closing are upstreams that host routes must not reach past a guard.
type Closing struct {
	Slugs []string // at the addresses of whose instances no host route forwards
	URLs  []string // at whose addresses none forwards that serves requests without the guard
	Edge  bool     // whether host routes are served where routes.yaml doesn't apply
}

// The ways in which a host route is closed.
const (
	open   int32 = iota
	beside       // routes.yaml guards the same paths of the same server
	closed
)

// Close sets the upstreams that host routes must not reach. Instances that a slug gets later count too.
func (t *Table) Close(c Closing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = c
	t.mark(t.current.Load())
}

// mark closes the host routes of a table, and opens the others.
func (t *Table) mark(tables *tables) {
	guarded := map[string]bool{}
	for _, slug := range t.closing.Slugs {
		if g := tables.slugs[slug]; g != nil {
			for _, b := range g.backends {
				guarded[place(b.Address)] = true
			}
		}
	}
	prefixes := map[string][]string{}
	for _, raw := range t.closing.URLs {
		if u, err := url.Parse(raw); err == nil {
			at := place(address(u))
			prefixes[at] = append(prefixes[at], prefixOf(u))
		}
	}
	for _, list := range tables.hosts {
		for _, r := range list {
			r.group.access.Store(r.group.accessTo(guarded, prefixes))
		}
	}
	t.report(tables)
}

// report logs the host routes that were closed or opened since the last call.
func (t *Table) report(tables *tables) {
	now := map[string]bool{}
	for _, list := range tables.hosts {
		for _, r := range list {
			if id := r.group.Name; r.group.Closed(t.closing.Edge) {
				if now[id] = true; !t.reported[id] {
					t.log.Warn("host_route_closed", "route", id, "reason", "routes.yaml guards its target: see micro gateway check")
				}
			} else if t.reported[id] {
				t.log.Info("host_route_opened", "route", id)
			}
		}
	}
	t.reported = now
}

// accessTo returns how a group is closed: by the addresses of guarded instances, and by those of guarded URLs with their paths.
func (g *Group) accessTo(guarded map[string]bool, prefixes map[string][]string) int32 {
	out := open
	for _, b := range g.backends {
		at := place(b.Address)
		if guarded[at] {
			return closed
		}
		for _, p := range prefixes[at] {
			if p != b.Prefix {
				return closed
			}
			out = beside
		}
	}
	return out
}

// Closed reports whether a host route leads past a guard. Unguarded says that requests come in where routes.yaml doesn't apply.
func (g *Group) Closed(unguarded bool) bool {
	a := g.access.Load()
	return a == closed || a == beside && unguarded
}

// place is an address in a form in which two spellings of one compare equal; all addresses of loopback are one place.
func place(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "localhost" || err == nil && ip.Unmap().IsLoopback():
		host = "localhost"
	case err == nil:
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, port)
}
