package service

import (
	"context"
	"fmt"
	"time"

	"micromesh/pkg/routing"
)

// Pulse is what changes all the time of an instance.
type Pulse struct {
	ID            string
	Generation    int32
	Status        routing.Status
	LastHeartbeat time.Time
	Beats         bool
}

// accompaniment is how long a registry that is alone again still reads what another one may have stored last.
const accompaniment = time.Minute

// Mine tells whether this registry is the one that looks after an instance.
func (s *Service) Mine(id string) bool { return s.peers.Mine(id) }

// accompanied tells whether there is another registry on the database, or was one until a moment ago, or at the start.
func (s *Service) accompanied() bool {
	now := s.elapsed()
	if !s.peers.Alone() {
		s.company.Store(now)
		return true
	}
	return now-s.company.Load() < int64(accompaniment)
}

// tell lets everybody know of a change that is stored.
func (s *Service) tell(in Instance) {
	s.board.Changed(in.Slug, in.ID)
	s.tellPeers(in)
}

func (s *Service) tellPeers(in Instance) {
	if !s.peers.Alone() {
		s.peers.Tell(in.ID)
	}
}

// Learn reads instances that another registry has changed.
//
// Errors: Unavailable.
func (s *Service) Learn(ctx context.Context, ids ...string) error {
	return s.learn(ctx, ids, "", func(in Instance) func() { return s.lock(in.ID, place(in.URL)) })
}

// held is for learn where its caller holds the locks of the ids and of the URL.
func held(Instance) (unlock func()) { return func() {} }

// learn reads instances by their ids, and the one at a URL, and takes each over under its locks.
func (s *Service) learn(ctx context.Context, ids []string, url string, lock func(Instance) (unlock func())) error {
	began := s.order.Add(1)
	found, err := s.store.Find(ctx, ids, url)
	if err != nil {
		return fmt.Errorf("find instances: %w", err)
	}
	missing := map[string]bool{}
	for _, id := range ids {
		missing[id] = true
	}
	for _, in := range found {
		delete(missing, in.ID)
		unlock := lock(in)
		s.adopt(in)
		unlock()
	}
	for id := range missing {
		if m, _ := s.fleet.find(id, routing.URL{}); m != nil {
			unlock := lock(*m.current.Load())
			s.forget(m, began)
			unlock()
		}
	}
	return nil
}

// adopt takes over what the database says of an instance, unless this registry knows better.
func (s *Service) adopt(in Instance) {
	m, at := s.fleet.find(in.ID, in.URL)
	if at != nil && at != m { // it has left this URL, or was removed
		s.leave(at)
	}
	if m != nil && m.current.Load().Slug != in.Slug { // another account's has followed
		s.leave(m)
		m = nil
	}
	if m == nil {
		s.welcome(in, 0)
		return
	}
	var previous routing.URL
	m.change(func(is *Instance) {
		switch {
		case is.Generation < in.Generation:
			previous = is.URL
			*is = in
			return
		case is.Generation == in.Generation && !s.peers.Mine(in.ID): // whoever checks it knows how it is
			is.Status, is.Details, is.Since = in.Status, in.Details, in.Since
			is.Proved, is.Vacant = in.Proved, in.Vacant
		}
		is.Beats = is.Beats || is.Generation == in.Generation && in.Beats
	})
	m.noted.Store(in.Beats)
	if previous != (routing.URL{}) {
		m.beat.Store(s.elapsed())
		s.fleet.put(m, previous)
		s.soon(m, 0)
	}
}

// welcome adds an instance that is stored. Its lease begins anew.
func (s *Service) welcome(in Instance, check time.Duration) {
	m := newMember(in)
	m.known = s.order.Add(1)
	m.beat.Store(s.elapsed())
	m.lastBeat.Store(in.LastHeartbeat.UnixMicro())
	m.flushed.Store(in.LastHeartbeat.UnixMicro())
	m.stored.Store(in.LastHeartbeat.UnixMicro())
	m.noted.Store(in.Beats)
	s.fleet.welcome(m)
	s.soon(m, check)
}

// forget takes out a member that another registry has removed: it was not stored when the database was read.
func (s *Service) forget(m *member, read int64) {
	if m.known < read && !m.gone.Load() {
		s.leave(m)
	}
}

// Refresh compares all that is known with the database, and takes over what other registries have stored: which instances
// there are, how they are, and that they were heard of.
//
// Errors: Unavailable.
func (s *Service) Refresh(ctx context.Context) error {
	began := s.order.Add(1)
	pulses, err := s.store.Pulses(ctx)
	if err != nil {
		return fmt.Errorf("read instances: %w", err)
	}
	stored := make(map[string]bool, len(pulses))
	var changed []string
	for _, p := range pulses {
		stored[p.ID] = true
		m, _ := s.fleet.find(p.ID, routing.URL{})
		if m == nil || s.differs(m, p) {
			changed = append(changed, p.ID)
			continue
		}
		s.heard(m, p.LastHeartbeat)
	}
	for _, m := range s.fleet.all() {
		if in := m.current.Load(); !stored[in.ID] {
			unlock := s.lock(in.ID, place(in.URL))
			s.forget(m, began)
			unlock()
		}
	}
	for len(changed) > 0 {
		n := min(len(changed), flushBatch)
		if err := s.Learn(ctx, changed[:n]...); err != nil {
			return err
		}
		changed = changed[n:]
	}
	return nil
}

func (s *Service) differs(m *member, p Pulse) bool {
	is := m.current.Load()
	return is.Generation < p.Generation ||
		is.Generation == p.Generation && (is.Status != p.Status && !s.peers.Mine(p.ID) || p.Beats && !is.Beats)
}

// heard takes note of a heartbeat that was stored. When it came is another machine's time: what counts is that it is one
// that this registry neither stored nor found before.
func (s *Service) heard(m *member, at time.Time) {
	stored := at.UnixMicro()
	if m.stored.Swap(stored) != stored {
		s.hear(m)
		m.lastBeat.Store(max(stored, m.lastBeat.Load()))
		m.flushed.Store(m.lastBeat.Load())
	}
	s.watch(m)
}

// behind tells whether a registration knows a later generation of an instance than this registry.
func (s *Service) behind(in Instance, known int32) bool {
	byID, byURL := s.fleet.find(in.ID, in.URL)
	for _, m := range []*member{byID, byURL} {
		if m != nil && m.current.Load().Generation < known {
			return true
		}
	}
	return false
}
