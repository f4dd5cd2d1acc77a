package discovery

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go-micro.dev/v5/registry"
)

// Snapshot is who runs where at one moment. It never changes; nor does anything that it points to.
type Snapshot struct {
	services map[string]*Service
}

// Service is a service that has at least one node. It is shared by all readers: don't change it.
type Service struct {
	Name  string
	Nodes []*Node // by ID
}

// NewService gives the form in which a Directory answers, for one that is not a Registry. It copies s.
func NewService(s *registry.Service) *Service {
	service := &Service{Name: s.Name}
	for _, n := range s.Nodes {
		one := *s
		one.Nodes = []*registry.Node{n}
		service.Nodes = append(service.Nodes, newNode(copyService(&one), 0))
	}
	return service
}

// Node is one running process of a service. It is shared by all readers: don't change it.
type Node struct {
	ID       string
	Address  string // host:port
	Version  string // of the service
	Metadata map[string]string

	registered *registry.Service // what it registered, with this node alone
	ttl        time.Duration
}

// Via is the metadata of a node that did not register itself, and ViaStock its value where it was found by go-micro's NATS registry.
// Guests is that of a gateway which services in plain go-micro call those of the mesh by: at what address. GuestsOverNATS is that of one
// that calls such services on go-micro's NATS transport.
const (
	Via      = "via"
	ViaStock = "stock"
	Guests   = "guests"

	GuestsOverNATS = "guests-over-nats"
)

// Stock tells whether a node is of a service that was written with plain go-micro, and brought in.
func (n *Node) Stock() bool { return n.Metadata[Via] == ViaStock && n.Metadata[RefusedFor] == "" }

// GRPC reports whether a node is one of the mesh that speaks gRPC, as all do that don't say otherwise.
func (n *Node) GRPC() bool {
	t := n.Metadata["transport"]
	return !n.Stock() && (t == "" || t == "grpc")
}

// StockRPC reports whether a node is a stock one that has methods: its transport is then "http", "grpc" or "nats".
func (n *Node) StockRPC() bool {
	if !n.Stock() || n.Web() {
		return false
	}
	switch n.Transport() {
	case "http", "grpc", "nats":
		return true
	}
	return false
}

// Web reports whether a node is a stock one that serves HTTP and has no methods, as those of go-micro's package web: unlike servers of
// RPC, they register neither a transport nor a protocol, or the protocol "http".
func (n *Node) Web() bool {
	protocol := n.Metadata["protocol"]
	return n.Stock() && n.Metadata["broker"] == "" && (protocol == "http" || protocol == "" && n.Transport() == "")
}

// Transport returns the transport that a node has registered, or nothing.
func (n *Node) Transport() string { return n.Metadata["transport"] }

// same reports whether two nodes are one and the same process, as far as callers are concerned.
func (n *Node) same(as *Node) bool {
	return n.ID == as.ID && n.Address == as.Address && n.Transport() == as.Transport() && n.Stock() == as.Stock()
}

// Endpoints are those that the node registered. They are shared: don't change them.
func (n *Node) Endpoints() []*registry.Endpoint { return n.registered.Endpoints }

// Endpoint gives an endpoint that a node of the service registered, or nil.
func (s *Service) Endpoint(name string) *registry.Endpoint {
	for _, n := range s.Nodes {
		if e := n.Endpoint(name); e != nil {
			return e
		}
	}
	return nil
}

// Endpoint returns an endpoint that the node registered, or nil.
func (n *Node) Endpoint(name string) *registry.Endpoint {
	for _, e := range n.Endpoints() {
		if e.Name == name {
			return e
		}
	}
	return nil
}

func newNode(s *registry.Service, ttl time.Duration) *Node {
	n := s.Nodes[0]
	return &Node{ID: n.Id, Address: n.Address, Version: s.Version, Metadata: n.Metadata, registered: s, ttl: ttl}
}

// micro gives the node as go-micro sees it, as a copy that the caller owns.
func (n *Node) micro() *registry.Node {
	return &registry.Node{Id: n.ID, Address: n.Address, Metadata: maps.Clone(n.Metadata)}
}

// micro gives the service as go-micro sees it: an entry for each version, as copies that the caller owns.
func (s *Service) micro() []*registry.Service {
	var versions []*registry.Service
	for _, n := range s.Nodes {
		i := slices.IndexFunc(versions, func(v *registry.Service) bool { return v.Version == n.Version })
		if i < 0 {
			i = len(versions)
			versions = append(versions, copyService(n.registered))
			versions[i].Nodes = nil
		}
		versions[i].Nodes = append(versions[i].Nodes, n.micro())
	}
	return versions
}

// with gives a snapshot in which one service has other nodes.
func (s *Snapshot) with(changed map[string][]*Node) *Snapshot {
	next := &Snapshot{services: make(map[string]*Service, len(s.services)+len(changed))}
	maps.Copy(next.services, s.services)
	for name, nodes := range changed {
		if len(nodes) == 0 {
			delete(next.services, name)
			continue
		}
		slices.SortFunc(nodes, func(a, b *Node) int { return strings.Compare(a.ID, b.ID) })
		next.services[name] = &Service{Name: name, Nodes: nodes}
	}
	return next
}

func copyService(s *registry.Service) *registry.Service {
	c := &registry.Service{Name: s.Name, Version: s.Version, Metadata: maps.Clone(s.Metadata)}
	for _, n := range s.Nodes {
		c.Nodes = append(c.Nodes, &registry.Node{Id: n.Id, Address: n.Address, Metadata: maps.Clone(n.Metadata)})
	}
	for _, e := range s.Endpoints {
		c.Endpoints = append(c.Endpoints, &registry.Endpoint{
			Name: e.Name, Metadata: maps.Clone(e.Metadata), Request: copyValue(e.Request), Response: copyValue(e.Response),
		})
	}
	return c
}

func copyValue(v *registry.Value) *registry.Value {
	if v == nil {
		return nil
	}
	c := &registry.Value{Name: v.Name, Type: v.Type}
	for _, w := range v.Values {
		c.Values = append(c.Values, copyValue(w))
	}
	return c
}
