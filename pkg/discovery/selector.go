package discovery

import (
	"errors"
	"slices"
	"sync"
	"time"

	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/selector"
)

// ErrUnreachable is what Mark is told of a node to which no connection could be established.
var ErrUnreachable = errors.New("the node can't be reached")

// Directory is what a Selector needs to know of the nodes; *Registry is one.
type Directory interface {
	// Lookup gives a service, or nil.
	Lookup(service string) *Service
	// OnChange calls fn after each change, with the name of the service that changed.
	OnChange(fn func(service string)) (stop func())
}

// Selector chooses nodes: of two random ones that with the lower product of calls in flight and latency. A node to which
// no connection can be established is ejected for a time that grows, though never more than half of a service's nodes
// at once, and if no other is left it is tried all the same. Selectors share nothing with one another, and have no
// goroutine: everything happens when a node is picked or a call ends. The methods are safe for concurrent use.
type Selector struct {
	dir     Directory
	onLeave func(*Candidate)
	fits    func(*Node) bool
	started time.Time
	stop    func()
	groups  sync.Map // service name → *group
}

var _ selector.Selector = (*Selector)(nil)

// SelectorOption is what NewSelector takes beside the directory.
type SelectorOption func(*Selector)

// Among says which nodes are chosen from; without it, those that speak gRPC.
func Among(fits func(*Node) bool) SelectorOption {
	return func(s *Selector) { s.fits = fits }
}

// NewSelector makes a selector over a directory. onLeave, which may be nil, is called once for each Candidate that was
// ever picked or might have been, when its node has left the directory and its last call has ended; it must return quickly.
func NewSelector(dir Directory, onLeave func(*Candidate), opts ...SelectorOption) *Selector {
	s := &Selector{dir: dir, onLeave: onLeave, fits: (*Node).GRPC, started: time.Now()}
	for _, o := range opts {
		o(s)
	}
	s.stop = dir.OnChange(s.changed)
	return s
}

// Close ends the selector's interest in the directory.
func (s *Selector) Close() error {
	s.stop()
	return nil
}

// Pick chooses a node and begins a call to it, which Candidate.End must end. Nodes of tried are left out. Errors:
// selector.ErrNotFound where the service has no node, selector.ErrNoneAvailable where all were tried.
func (s *Selector) Pick(service string, tried ...*Candidate) (*Candidate, error) {
	return s.pick(service, nil, tried)
}

// PickFor is Pick among the nodes that have registered an endpoint. If none has, it is Pick.
func (s *Selector) PickFor(service, endpoint string, tried ...*Candidate) (*Candidate, error) {
	found := s.dir.Lookup(service)
	if found == nil || found.Endpoint(endpoint) == nil {
		return s.pick(service, nil, tried)
	}
	return s.pick(service, func(c *Candidate) bool { // a node may have registered other endpoints since it became a candidate
		return slices.ContainsFunc(found.Nodes, func(n *Node) bool { return c.Node.same(n) && n.Endpoint(endpoint) != nil })
	}, tried)
}

func (s *Selector) pick(service string, fits func(*Candidate) bool, tried []*Candidate) (*Candidate, error) {
	now := s.now()
	for {
		g := s.group(service)
		if g == nil {
			return nil, selector.ErrNotFound
		}
		c := pick(*g.candidates.Load(), tried, now, fits)
		if c == nil {
			return nil, selector.ErrNoneAvailable
		}
		if c.begin() {
			return c, nil
		}
	}
}

// Select gives a function that picks a node with each call, as a copy. It can't know when the caller's call ends: such
// picks count as over at once, and what came of them is told by Mark. Filters and strategies of the options are
// honoured, in go-micro's way.
func (s *Selector) Select(service string, opts ...selector.SelectOption) (selector.Next, error) {
	var o selector.SelectOptions
	for _, opt := range opts {
		opt(&o)
	}
	found := s.dir.Lookup(service)
	if found == nil {
		return nil, selector.ErrNotFound
	}
	if len(o.Filters) > 0 || o.Strategy != nil {
		return filtered(found.micro(), o)
	}
	return func() (*registry.Node, error) {
		c, err := s.Pick(service)
		if err != nil {
			return nil, err
		}
		c.End(0, Failed)
		return c.Node.micro(), nil
	}, nil
}

func filtered(services []*registry.Service, o selector.SelectOptions) (selector.Next, error) {
	for _, f := range o.Filters {
		services = f(services)
	}
	if len(services) == 0 {
		return nil, selector.ErrNoneAvailable
	}
	if o.Strategy == nil {
		return selector.Random(services), nil
	}
	return o.Strategy(services), nil
}

// Mark tells how a call to a node ended that Select gave. Only errors that are ErrUnreachable eject it.
func (s *Selector) Mark(service string, node *registry.Node, err error) {
	v, ok := s.groups.Load(service)
	if !ok || node == nil {
		return
	}
	g := v.(*group)
	for _, c := range *g.candidates.Load() {
		if c.Node.ID != node.Id || c.Node.Address != node.Address {
			continue
		}
		if errors.Is(err, ErrUnreachable) {
			c.unreachable(s.now())
		} else if err == nil {
			c.reached(s.now())
		}
	}
}

// Reset forgets what is known of a service's nodes.
func (s *Selector) Reset(service string) {
	if v, ok := s.groups.LoadAndDelete(service); ok {
		v.(*group).disband()
	}
}

// Init is here for go-micro; a Selector is configured by NewSelector alone.
func (s *Selector) Init(...selector.Option) error { return nil }

// Options is here for go-micro.
func (s *Selector) Options() selector.Options { return selector.Options{} }

// String names the implementation.
func (s *Selector) String() string { return "p2c" }

func (s *Selector) now() int64 { return int64(time.Since(s.started)) }

// group gives a service's group, made if the directory knows the service: names that nobody registered, which may come
// from outside, leave no trace.
func (s *Selector) group(service string) *group {
	for {
		if v, ok := s.groups.Load(service); ok {
			return v.(*group)
		}
		if s.dir.Lookup(service) == nil {
			return nil
		}
		fresh := &group{selector: s, service: service}
		fresh.candidates.Store(new([]*Candidate))
		fresh.fill() // before others find it: they would take it for a service without nodes
		v, found := s.groups.LoadOrStore(service, fresh)
		g := v.(*group)
		if found {
			fresh.disband()
		}
		g.fill() // as the service may have changed before anybody would have told the group
		if v, ok := s.groups.Load(service); ok && v == g {
			return g
		}
		g.disband() // the service left meanwhile, so nobody would keep the group up to date
	}
}

// changed is the directory's call.
func (s *Selector) changed(service string) {
	v, ok := s.groups.Load(service)
	if !ok {
		return
	}
	g := v.(*group)
	if s.dir.Lookup(service) == nil {
		s.groups.CompareAndDelete(service, g)
	}
	g.fill()
}
