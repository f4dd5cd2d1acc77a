package service

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"micromesh/pkg/routing"
)

const (
	checkers = 64               // checks that run at once
	failures = 2                // in a row, that make an instance unreachable
	recheck  = time.Second      // after the first of them
	fleetOf  = 10               // from so many instances on, expiry may freeze
	patience = 5                // proofs that a new instance may fail before it is asked as seldom as others
	vacant   = 10 * time.Second // of refusals since the last registration, after which others may have a URL
)

// RunChecks checks all instances, again and again, until ctx ends and the last check is over.
func (s *Service) RunChecks(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, checkers)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.stayAwake()
		m, next := s.checks.take(s.elapsed())
		if m == nil {
			wait := min(time.Second, s.cfg.Lease/8)
			if next >= 0 {
				wait = min(wait, time.Duration(next-s.elapsed()))
			}
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-s.checks.woken:
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-free }()
			after := s.check(ctx, m)
			now := s.elapsed()
			s.checks.back(m, now, now+int64(after))
		})
	}
}

// soon has a member checked after a while.
func (s *Service) soon(m *member, d time.Duration) { s.checks.at(m, s.elapsed()+int64(d)) }

// jitter spreads checks: a tenth more or less.
func (s *Service) jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// check looks how an instance is, and tells when to look again.
func (s *Service) check(ctx context.Context, m *member) time.Duration {
	is := *m.current.Load()
	if !s.peers.Mine(is.ID) {
		m.refused, m.answered = -1, -1
		return s.jitter(s.cfg.CheckInterval)
	}
	found := s.look(ctx, is)
	if ctx.Err() != nil || m.gone.Load() {
		return s.cfg.CheckInterval
	}
	after := s.jitter(s.cfg.CheckInterval)
	now := sight{found.Status, found.Details, is.Proved, is.Vacant}
	switch proved := len(found.Proofs) > 0 && found.Proofs[0]; {
	case proved:
		now.proved, m.unproved = true, 0
	case is.Proved && found.Answered:
		now.status, now.details = routing.Error, "the address answers without the proof of this instance: another program may listen there"
	case is.Proved && found.Status.Live():
		now.status, now.details = routing.Unreachable, "the address accepts connections and doesn't answer"
		if m.failures == 0 {
			after = 0 // whoever listens there gets no more requests than need be
		}
	case is.Proves && m.unproved < patience: // its program has only now learned its key
		m.unproved++
		after = min(after, recheck)
	}
	if now.status.Live() {
		m.failures = 0
	} else if m.failures++; now.status == routing.Unreachable && m.failures < failures {
		now.status, after = is.Status, min(after, recheck)
	}
	now.vacant, after = s.vacancy(m, is, found, after)
	s.see(m, is, now)
	if expired := s.judge(ctx, m); expired {
		return 0
	}
	if left := s.left(m); left >= 0 {
		after = min(after, left+time.Millisecond)
	}
	return after
}

// look checks an instance, and asks for its proof if it has a key.
func (s *Service) look(ctx context.Context, is Instance) Health {
	if !is.Proves {
		return s.checker.Check(ctx, is.URL, is.HealthPath)
	}
	return s.checker.Prove(ctx, is.URL, is.HealthPath, s.cfg.Key(is.Slug, is.URL.String()))
}

// vacancy records whether an address refuses connections. It reports whether the refusals since the last registration let others
// have the URL. Until that is decided, the checks are more frequent.
func (s *Service) vacancy(m *member, is Instance, found Health, after time.Duration) (bool, time.Duration) {
	now := s.elapsed()
	if !found.Refused {
		m.refused = -1
		if found.Status != routing.Unreachable {
			m.answered = now
		}
		return is.Vacant, after
	}
	if m.refused < 0 {
		m.refused = now
		if m.answered < 0 {
			m.answered = now
		}
	}
	if is.Vacant || now-m.refused > int64(2*vacant) {
		return is.Vacant || s.abandoned(m), after
	}
	return s.abandoned(m), min(after, recheck)
}

// abandoned reports whether the refusals in a row make a gap. The time between the last answer and the first refusal counts, if
// the refusals alone leave no more than one check interval open.
func (s *Service) abandoned(m *member) bool {
	now, registered, need := s.elapsed(), m.beat.Load(), vacant
	if s.accompanied() { // others may have received a registration
		need += 2 * flushHeartbeats
	}
	seen := time.Duration(now - max(m.refused, registered))
	most := time.Duration(now - max(min(m.answered, m.refused), registered))
	return m.refused >= 0 && most >= need && seen >= max(need/2, need-s.cfg.CheckInterval-s.cfg.CheckInterval/10)
}

// sight is the result of a check.
type sight struct {
	status         routing.Status
	details        string
	proved, vacant bool
}

// see records the result of a check, unless the instance has changed meanwhile.
func (s *Service) see(m *member, was Instance, found sight) {
	if found.status == was.Status && found.proved == was.Proved && found.vacant == was.Vacant {
		return
	}
	var from routing.Status
	now := m.change(func(in *Instance) {
		if in.Generation != was.Generation {
			return
		}
		from = in.Status
		if in.Status != found.status {
			in.Status, in.Details, in.Since = found.status, found.details, s.cfg.Now()
		}
		in.Proved = found.proved
		in.Vacant = in.Vacant || found.vacant && s.abandoned(m) // a registration may have come meanwhile
	})
	switch from {
	case "":
		return
	case now.Status:
		s.statuses.add(now, Event{})
		return
	}
	s.board.Changed(now.Slug, now.ID)
	s.statuses.add(now, s.event(now, "", StatusChanged{string(from), string(now.Status), found.details}))
}

// count keeps a number of members of which something is so.
func count(of *atomic.Bool, all *atomic.Int64, is bool) {
	if of.Swap(is) == is {
		return
	}
	if is {
		all.Add(1)
	} else {
		all.Add(-1)
	}
}
