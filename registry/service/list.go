package service

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
)

// Filter chooses instances: those that equal each part that is set.
type Filter struct {
	Scheme, IP, DeploymentID, Host, ID, Slug string
}

func (f Filter) fits(in Instance) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.Scheme, in.URL.Scheme) && is(f.IP, in.IP) && is(f.DeploymentID, in.DeploymentID) && is(f.Host, in.Host) &&
		is(f.ID, in.ID) && is(f.Slug, in.Slug)
}

// List gives the instances that the caller may see, those of RPC services among them, by slug and URL.
func (s *Service) List(by Caller, f Filter) []Instance {
	var out []Instance
	for _, m := range s.fleet.all() {
		in := s.view(m)
		if by.owns(in.Slug) && f.fits(in) {
			out = append(out, in)
		}
	}
	for _, n := range s.nodes.RPCNodes() {
		in, err := s.rpcInstance(n)
		if err == nil && by.owns(in.Slug) && f.fits(in) {
			out = append(out, in)
		}
	}
	slices.SortFunc(out, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Slug, b.Slug), cmp.Compare(a.URL.String(), b.URL.String()))
	})
	return out
}

// Instance gives one instance as everybody may look it up, for whoever publishes it.
func (s *Service) Instance(id string) (Instance, bool) {
	m, _ := s.fleet.find(id, routing.URL{})
	if m == nil {
		return Instance{}, false
	}
	return s.view(m), true
}

// Instances gives all instances that registered, without RPC services, as this registry knows them, for whoever publishes
// them.
func (s *Service) Instances() []Instance {
	members := s.fleet.all()
	out := make([]Instance, len(members))
	for i, m := range members {
		out[i] = s.view(m)
	}
	return out
}

// Count gives how many instances are registered, by their status, as this registry knows them.
func (s *Service) Count() map[routing.Status]int {
	counts := map[routing.Status]int{}
	for _, m := range s.fleet.all() {
		counts[m.current.Load().Status]++
	}
	return counts
}

// view is an instance with its last heartbeat.
func (s *Service) view(m *member) Instance {
	in := *m.current.Load()
	in.LastHeartbeat = time.UnixMicro(m.lastBeat.Load()).UTC()
	return in
}

// rpcInstance shows a node of an RPC service. That discovery knows it means that it is alive.
func (s *Service) rpcInstance(n RPCNode) (Instance, error) {
	if n.NATS {
		return s.rpcAt(n, routing.URL{Scheme: "nats", Host: n.Address, Port: portOfNATS}), nil
	}
	host, port, err := net.SplitHostPort(n.Address)
	if err != nil {
		return Instance{}, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return Instance{}, err
	}
	scheme := "grpc"
	if n.HTTP {
		scheme = "http"
	}
	return s.rpcAt(n, routing.URL{Scheme: scheme, Host: host, Port: number}), nil
}

// portOfNATS is the usual port of NATS. A node whose address is a subject has none of its own.
const portOfNATS = 4222

func (s *Service) rpcAt(n RPCNode, u routing.URL) Instance {
	in := Instance{
		ID: n.ID, Slug: n.Service, URL: u, Host: u.Host, Metadata: n.Metadata,
		Status: routing.Healthy, Details: "seen in discovery", LastHeartbeat: s.cfg.Now().UTC(),
	}
	if net.ParseIP(u.Host) != nil {
		in.Host, in.IP = "", u.Host
	}
	return in
}

// Remove takes an instance out, and bars heartbeats of its generation. It gives what was removed.
//
// Errors: NotFound; Forbidden; Unavailable.
func (s *Service) Remove(ctx context.Context, by Caller, id string) (Instance, error) {
	m, err := s.member(ctx, id)
	if err != nil {
		return Instance{}, err
	}
	in := *m.current.Load()
	if !by.owns(in.Slug) {
		return Instance{}, errs.Forbiddenf("instance %q belongs to another account", id)
	}
	unlock, err := s.lockSoon(ctx, in.ID, place(in.URL))
	if err != nil {
		return Instance{}, err
	}
	defer unlock()
	if m.gone.Load() {
		return Instance{}, NoInstance(id)
	}
	in = *m.current.Load()
	why := s.event(in, by.UserID, Removed{})
	_, err = s.remove(m, why, func(told []Event) (bool, error) {
		return true, s.store.Remove(ctx, in.ID, in.Slug, why.Time, told)
	})
	if err != nil {
		return Instance{}, fmt.Errorf("remove instance: %w", err)
	}
	return in, nil
}

// member gives the member with an id, which another registry may have added a moment ago.
//
// Errors: NotFound; Unavailable.
func (s *Service) member(ctx context.Context, id string) (*member, error) {
	m, _ := s.fleet.find(id, routing.URL{})
	if m == nil && s.accompanied() {
		if err := s.Learn(ctx, id); err != nil {
			return nil, err
		}
		m, _ = s.fleet.find(id, routing.URL{})
	}
	if m == nil {
		return nil, NoInstance(id)
	}
	return m, nil
}

// remove takes an instance out of the store, by what it is given, and then out of memory. It tells whether it did. The
// locks of the instance are held.
func (s *Service) remove(m *member, why Event, stored func(told []Event) (bool, error)) (bool, error) {
	s.telling.RLock()
	defer s.telling.RUnlock()
	in := *m.current.Load()
	told := append(s.statuses.pull(in.ID), why)
	done, err := stored(told)
	if err != nil || !done {
		s.statuses.giveBack(in, told[:len(told)-1])
		return false, err
	}
	s.leave(m)
	s.tell(in)
	return true, nil
}

// leave takes a member out of memory.
func (s *Service) leave(m *member) {
	s.fleet.drop(m)
	s.checks.remove(m)
	s.watch(m)
}
