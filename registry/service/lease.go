package service

import (
	"context"
	"time"

	"micromesh/pkg/routing"
)

const (
	keep       = 24 * time.Hour  // of an instance that doesn't beat, after its address last answered
	sameMoment = time.Second     // registrations that come so soon after each other are one: several workers share a URL
	asleep     = 5 * time.Second // or half of a lease: so long no process is busy with something else
	untilBeats = 3               // registrations again, each within a lease, that make an instance one that beats
)

// beat takes note of a registration.
func (s *Service) beat(m *member) {
	s.hear(m)
	m.lastBeat.Store(s.cfg.Now().UnixMicro())
}

// hear begins the lease of an instance again. Registrations that keep coming make it one that beats.
func (s *Service) hear(m *member) {
	now := s.elapsed()
	m.beat.Store(now)
	if m.current.Load().Beats {
		return
	}
	if m.goesOn(now, s.cfg.Lease) {
		m.change(func(in *Instance) { in.Beats = true })
		s.watch(m)
	}
}

// goesOn counts a registration, and reports whether it is the last of as many in a row as make an instance beat.
func (m *member) goesOn(now int64, lease time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch since := time.Duration(now - m.counted); {
	case m.counted >= 0 && since < sameMoment:
		return false
	case m.counted < 0 || since > lease:
		m.again = 0
	default:
		m.again++
	}
	m.counted = now
	return m.again >= untilBeats
}

// startOver forgets the registrations that were counted, and leaves the one of this moment.
func (m *member) startOver(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.again, m.counted = 0, now
}

// silent returns the time since the last registration of an instance, as far as this registry could receive it.
func (s *Service) silent(m *member) time.Duration {
	s.stayAwake()
	if !s.peers.Hears() {
		s.hearing.Store(s.elapsed())
	}
	return time.Duration(s.elapsed() - max(m.beat.Load(), s.hearing.Load()))
}

// stayAwake notices that this process didn't run for a while, such as on a machine that was suspended: then it has heard
// nothing either.
func (s *Service) stayAwake() {
	now := s.elapsed()
	if slept := time.Duration(now - s.awake.Swap(now)); slept > min(asleep, s.cfg.Lease/2) {
		s.hearing.Store(now)
	}
}

// left returns the time that an instance is still kept without a further registration. It is negative after that.
func (s *Service) left(m *member) time.Duration {
	in := m.current.Load()
	switch {
	case in.Beats:
		return s.cfg.Lease - s.silent(m)
	case in.Status != routing.Unreachable: // it answers
		return keep
	}
	last := max(in.Since.UnixMicro(), m.lastBeat.Load())
	return keep - s.cfg.Now().Sub(time.UnixMicro(last))
}

// judge expires an instance that isn't kept any longer, and reports whether it did. Where more than half of all that beat
// are silent at the same time, it is rather this process that is cut off: then none of them expires.
func (s *Service) judge(ctx context.Context, m *member) bool {
	s.watch(m)
	if s.left(m) >= 0 {
		return false
	}
	if total := s.beating.Load(); m.current.Load().Beats && total >= fleetOf && 2*s.suspects.Load() > total {
		if !s.frozen.Swap(true) {
			s.cfg.Logger.WarnContext(ctx, "expiry_frozen", "instances", total, "suspects", s.suspects.Load())
		}
		return false
	}
	s.frozen.Store(false)
	return s.expire(ctx, m)
}

// watch counts the member among those that beat, and among those of them whose lease may soon end, where it belongs there.
func (s *Service) watch(m *member) {
	beats := m.current.Load().Beats && !m.gone.Load()
	count(&m.beating, &s.beating, beats)
	count(&m.suspect, &s.suspects, beats && s.silent(m) > s.cfg.Lease/2)
}

// expire removes an instance in the mesh's own name. Its generation stays good: it may come back.
func (s *Service) expire(ctx context.Context, m *member) bool {
	in := s.view(m)
	defer s.lock(in.ID, place(in.URL))()
	if m.gone.Load() || s.left(m) >= 0 {
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
	if !expired { // another registry has received a registration, or changed it
		m.beat.Store(s.elapsed())
		m.lastBeat.Store(max(m.lastBeat.Load(), m.stored.Load()))
		return false
	}
	s.cfg.Logger.InfoContext(ctx, "instance_expired", "instance", in.ID, "slug", in.Slug)
	return true
}
