package schemas

import (
	"cmp"
	"slices"

	"micromesh/gateway/transcode"
	"micromesh/pkg/discovery"
	"micromesh/pkg/ident"
)

// guestNode is a node of a service in plain go-micro.
type guestNode struct {
	service string
	node    *discovery.Node
}

// guestNodes are the nodes of services in plain go-micro, by the services' names and the nodes' ids. Discovery makes another node of each that
// changes.
func (f *Follower) guestNodes() (nodes []guestNode) {
	if !f.cfg.Guests {
		return nil
	}
	for _, s := range f.cfg.Nodes.Services() {
		for _, n := range s.Nodes {
			if n.Stock() {
				nodes = append(nodes, guestNode{s.Name, n})
			}
		}
	}
	slices.SortFunc(nodes, func(a, b guestNode) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.node.ID, b.node.ID))
	})
	return nodes
}

// guestsOf makes one guest of the nodes of each service. A name that reads like that of a service with bindings is no guest's.
func guestsOf(nodes []guestNode, bindings *transcode.Bindings) (guests []transcode.Guest) {
	for _, n := range nodes {
		if bindings.Has(ident.Fold(n.service)) {
			continue
		}
		if len(guests) == 0 || guests[len(guests)-1].Name != n.service {
			guests = append(guests, transcode.Guest{Name: n.service})
		}
		g := &guests[len(guests)-1]
		g.Endpoints = append(g.Endpoints, n.node.Endpoints()...)
		g.Version = max(g.Version, n.node.Version)
	}
	return guests
}
