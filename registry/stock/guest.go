package stock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"

	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/schema"
)

// Bounds of what is taken in.
const (
	maxServices  = 200
	maxNodes     = 1000 // of all services together
	maxEndpoints = 500  // of a service
	maxRefused   = 1000 // that are logged
	maxPublished = 200  // refused services that are published
	maxOwners    = 2000 // names whose owner is asked between two questions

	// missedLimit questions in a row that a node has not answered, it has gone.
	missedLimit = 3
)

// names are what can be the first segment of a path.
var names = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$`)

// reserved are the metadata by which nodes of the mesh describe themselves: no guest has a schema, or addresses for others.
var reserved = map[string]bool{discovery.RefusedFor: true, discovery.GuestsOverNATS: true, discovery.Via: true, discovery.Guests: true, schema.NodeHash: true, schema.NodeSince: true}

// guest is a service with one of its nodes, marked as discovery shows it.
type guest struct {
	*registry.Service
	raw      []byte // to tell whether anything has changed
	proven   bool   // by the login of the account whose name it has
	answered bool   // since the last question
	missed   int    // questions in a row
}

// newGuest makes a guest of what a node has said, and tells why where that can't be one.
func newGuest(s *registry.Service, n *registry.Node) (g *guest, why string) {
	switch {
	case !names.MatchString(s.Name):
		return nil, "its name is no plain segment of a path: up to 100 letters, digits, dots, dashes and underscores"
	case n.Metadata["transport"] == "nats":
		if !discovery.InboxSubject(n.Address) {
			return nil, "it is on the NATS transport, and its address is no subject of its own: leave MICRO_SERVER_ADDRESS and MICRO_SERVER_ADVERTISE unset"
		}
	case !addressed(n.Address):
		return nil, "its address is not HOST:PORT with a host that others reach: set MICRO_SERVER_ADDRESS, or MICRO_SERVER_ADVERTISE"
	case len(s.Endpoints) > maxEndpoints:
		return nil, fmt.Sprintf("it has more than %d endpoints", maxEndpoints)
	}
	metadata := map[string]string{}
	for k, v := range n.Metadata {
		if !reserved[k] {
			metadata[k] = v
		}
	}
	metadata[discovery.Via] = discovery.ViaStock
	one := &registry.Service{
		Name: s.Name, Version: s.Version, Metadata: s.Metadata, Endpoints: s.Endpoints,
		Nodes: []*registry.Node{{Id: n.Id, Address: n.Address, Metadata: metadata}},
	}
	raw, err := json.Marshal(one)
	if err != nil {
		return nil, "it can't be encoded"
	}
	return &guest{Service: one, raw: raw}, ""
}

// nameIn returns the name in what a service says of itself, which is too long to be read; a placeholder if the name doesn't come early.
func nameIn(raw []byte) string {
	if m := namePattern.FindSubmatch(raw[:min(len(raw), 1000)]); m != nil {
		return string(m[1])
	}
	return "a service"
}

// namePattern finds the first name: go-micro writes a service's name before its nodes and endpoints.
var namePattern = regexp.MustCompile(`"name":"([^"\\]{1,100})"`)

// isBroker reports whether a node is a subscriber of go-micro's HTTP broker, which registers beside services.
func isBroker(n *registry.Node) bool { return n.Metadata["broker"] != "" && n.Metadata["topic"] != "" }

// addressed tells whether others can reach an address.
func addressed(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func (g *guest) key() string { return discovery.Key(g.Name, g.Nodes[0].Id) }

// guests are those that were brought in.
type guests struct {
	all      map[string]*guest
	services map[string]int // nodes of each
}

func newGuests() *guests { return &guests{all: map[string]*guest{}, services: map[string]int{}} }

// room tells whether a guest is known, or may become so.
func (gs *guests) room(g *guest) bool {
	if gs.all[g.key()] != nil {
		return true
	}
	return len(gs.all) < maxNodes && (gs.services[g.Name] > 0 || len(gs.services) < maxServices)
}

// proven reports whether a guest is known by the login of its account.
func (gs *guests) proven(g *guest) bool {
	known := gs.all[g.key()]
	return known != nil && known.proven
}

// seen takes note of an answer, and tells whether it says anything new.
func (gs *guests) seen(g *guest) bool {
	g.answered = true
	old := gs.all[g.key()]
	if old != nil && bytes.Equal(old.raw, g.raw) {
		old.answered = true
		return false
	}
	if old == nil {
		gs.services[g.Name]++
	}
	gs.all[g.key()] = g
	return true
}

// ask begins a question.
func (gs *guests) ask() {
	for _, g := range gs.all {
		g.answered = false
	}
}

// missed ends a question, and gives those that have missed too many.
func (gs *guests) missed() []*guest {
	return gs.remove(func(g *guest) bool {
		if g.answered {
			g.missed = 0
			return false
		}
		g.missed++
		return g.missed >= missedLimit
	})
}

// leave gives those that a service says have gone.
func (gs *guests) leave(s *registry.Service) []*guest {
	return gs.remove(func(g *guest) bool {
		if g.Name != s.Name || g.proven { // anybody can say so
			return false
		}
		for _, n := range s.Nodes {
			if n != nil && n.Id == g.Nodes[0].Id {
				return true
			}
		}
		return false
	})
}

func (gs *guests) remove(gone func(*guest) bool) (out []*guest) {
	for key, g := range gs.all {
		if !gone(g) {
			continue
		}
		delete(gs.all, key)
		if gs.services[g.Name]--; gs.services[g.Name] == 0 {
			delete(gs.services, g.Name)
		}
		out = append(out, g)
	}
	return out
}
