package service

import (
	"maps"
	"net/url"
	"slices"

	"micromesh/pkg/routing"
)

// Closing are upstreams that host routes and other slugs must not reach past a guard.
type Closing struct {
	Slugs []string // at the addresses of whose instances no host route forwards, and no other slug
	URLs  []string // at whose addresses none forwards that serves requests without the guard, or puts another path in front
	Edge  bool     // whether host routes are served where routes.yaml doesn't apply
}

// guardedPlaces are the addresses of guarded upstreams.
type guardedPlaces struct {
	slugs    map[string]bool     // of instances of slugs
	prefixes map[string][]string // of URLs: their paths
}

func (g *guardedPlaces) equal(o *guardedPlaces) bool {
	return maps.Equal(g.slugs, o.slugs) && maps.EqualFunc(g.prefixes, o.prefixes, slices.Equal)
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
	t.mark(t.current.Load(), nil)
}

// guarded returns the addresses that are guarded in a table.
func (t *Table) guarded(tables *tables) *guardedPlaces {
	p := &guardedPlaces{slugs: map[string]bool{}, prefixes: map[string][]string{}}
	for _, slug := range t.closing.Slugs {
		for _, key := range []string{slug, SiteKey(slug)} {
			if g := tables.slugs[key]; g != nil {
				for _, b := range g.backends {
					p.slugs[routing.Place(b.Address)] = true
				}
			}
		}
	}
	for _, raw := range t.closing.URLs {
		if u, err := url.Parse(raw); err == nil {
			at := routing.Place(address(u))
			p.prefixes[at] = append(p.prefixes[at], prefixOf(u))
		}
	}
	return p
}

// Guarded returns the addresses of the instances of guarded slugs, those of guarded URLs, and the paths that are put in front at these.
func (t *Table) Guarded() (slugs, urls, prefixes []string) {
	p := t.places.Load()
	if p == nil {
		return nil, nil, nil
	}
	for at, all := range p.prefixes {
		urls, prefixes = append(urls, at), append(prefixes, all...)
	}
	return slices.Collect(maps.Keys(p.slugs)), urls, prefixes
}

// mark closes the host routes of a table that lead past a guard, and the instances of other slugs, and opens the rest. Of slugs it looks at
// those that changed, unless guarded addresses have changed.
func (t *Table) mark(tables *tables, changed []*Group) {
	p := t.guarded(tables)
	for _, list := range tables.hosts {
		for _, r := range list {
			r.group.access.Store(p.accessOf(r.group))
		}
	}
	t.report(tables)
	if old := t.places.Load(); old != nil && old.equal(p) && changed != nil {
		for _, g := range changed {
			t.bar(g, p)
		}
		return
	}
	t.places.Store(p)
	for _, g := range tables.slugs {
		t.bar(g, p)
	}
}

// bar closes the instances of a slug that are at the address of a guarded upstream. Another account has registered them there: what it
// puts in front of the path would lead past the guard.
func (t *Table) bar(g *Group, p *guardedPlaces) {
	for _, b := range g.backends {
		barred := false
		if len(p.slugs) > 0 || len(p.prefixes) > 0 {
			barred = p.access(b) == closed && !slices.Contains(t.closing.Slugs, g.Name)
		}
		if b.barred.Swap(barred) != barred && barred {
			t.log.Warn("instance_closed", "slug", g.Name, "instance", b.ID, "reason", "its address is that of an upstream which routes.yaml guards")
		}
	}
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

// accessOf returns how a group is closed.
func (p *guardedPlaces) accessOf(g *Group) int32 {
	out := open
	for _, b := range g.backends {
		out = max(out, p.access(b))
	}
	return out
}

// access returns how a backend is closed: by the addresses of guarded instances, and by those of guarded URLs with their paths.
func (p *guardedPlaces) access(b *Backend) int32 {
	at := routing.Place(b.Address)
	if p.slugs[at] {
		return closed
	}
	out := open
	for _, prefix := range p.prefixes[at] {
		if prefix != b.Prefix {
			return closed
		}
		out = beside
	}
	return out
}

// Closed reports whether a host route leads past a guard. Unguarded says that requests come in where routes.yaml doesn't apply.
func (g *Group) Closed(unguarded bool) bool {
	a := g.access.Load()
	return a == closed || a == beside && unguarded
}
