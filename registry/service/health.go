package service

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"micromesh/pkg/routing"
)

const (
	checkers = 64          // checks that run at once
	failures = 2           // in a row, that make an instance unreachable
	recheck  = time.Second // after the first of them
	fleetOf  = 10          // from so many instances on, expiry may freeze
)

// RunChecks checks all instances, again and again, until ctx ends and the last check is over.
func (s *Service) RunChecks(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, checkers)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		m, next := s.checks.take(s.elapsed())
		if m == nil {
			wait := time.Hour
			if next >= 0 {
				wait = time.Duration(next - s.elapsed())
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
		return s.jitter(s.cfg.CheckInterval)
	}
	found := s.checker.Check(ctx, is.URL, is.HealthPath)
	if ctx.Err() != nil || m.gone.Load() {
		return s.cfg.CheckInterval
	}
	after := s.jitter(s.cfg.CheckInterval)
	status := found.Status
	if status.Live() {
		m.failures = 0
		m.beat.Store(s.elapsed()) // a sign of life as good as a heartbeat: many that never beat may become unreachable at once
	} else if m.failures++; status == routing.Unreachable && m.failures < failures {
		status, after = is.Status, min(after, recheck)
	}
	s.see(m, is, status, found.Details)
	if expired := s.judge(ctx, m); expired {
		return 0
	}
	return after
}

// see takes note of a status, if the instance is still what was checked.
func (s *Service) see(m *member, was Instance, status routing.Status, details string) {
	if status == was.Status {
		return
	}
	var from routing.Status
	now := m.change(func(in *Instance) {
		if in.Generation == was.Generation {
			from = in.Status
			in.Status, in.Details, in.Since = status, details, s.cfg.Now()
		}
	})
	if from == "" || from == status {
		return
	}
	s.board.Changed(now.Slug, now.ID)
	s.statuses.add(now, s.event(now, "", StatusChanged{string(from), string(status), details}))
}

// judge expires an instance that is neither well nor heard of, and tells whether it did. Where more than half of all
// instances are so at once, it is rather this process that is cut off: then nothing expires.
func (s *Service) judge(ctx context.Context, m *member) bool {
	in := *m.current.Load()
	silent := time.Duration(s.elapsed() - m.beat.Load())
	s.suspect(m, !in.Status.Live() && silent > s.cfg.Lease/2 && !m.gone.Load())
	if in.Status.Live() || silent <= s.cfg.Lease {
		return false
	}
	if total := s.fleet.size(); total >= fleetOf && 2*int(s.suspects.Load()) > total {
		if !s.frozen.Swap(true) {
			s.cfg.Logger.WarnContext(ctx, "expiry_frozen", "instances", total, "suspects", s.suspects.Load())
		}
		return false
	}
	s.frozen.Store(false)
	return s.expire(ctx, m)
}

// suspect counts the member among those that may soon expire, or not.
func (s *Service) suspect(m *member, is bool) {
	if m.suspect.Swap(is) == is {
		return
	}
	if is {
		s.suspects.Add(1)
	} else {
		s.suspects.Add(-1)
	}
}

// expire removes an instance in the mesh's own name. Its generation stays good: it may come back.
func (s *Service) expire(ctx context.Context, m *member) bool {
	in := s.view(m)
	defer s.lock(in.ID, in.URL.String())()
	if m.gone.Load() || time.Duration(s.elapsed()-m.beat.Load()) <= s.cfg.Lease {
		return false
	}
	why := s.event(in, "", Expired{in.LastHeartbeat})
	expired, err := s.remove(m, why, func(told []Event) (bool, error) {
		heard := time.UnixMicro(m.stored.Load())
		return s.store.Expire(ctx, in, heard, why.Time, told)
	})
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "expiry_postponed", "instance", in.ID, "error", err)
		return false
	}
	if !expired { // another registry has heard of it, or changed it
		m.beat.Store(s.elapsed())
		return false
	}
	s.cfg.Logger.InfoContext(ctx, "instance_expired", "instance", in.ID, "slug", in.Slug)
	return true
}
