package service

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"micromesh/pkg/routing"
)

const (
	flushStatuses   = 50 * time.Millisecond
	flushHeartbeats = 3 * time.Second // or a third of the lease, where that is less: other registries must hear of them in time
	flushBatch      = 500             // rows of one transaction: other writers wait for it
	forgetAfter     = 24 * time.Hour
	forgetEvery     = time.Hour
)

// dirty is the changes of statuses that are to be stored, in their order.
type dirty struct {
	mu      sync.Mutex
	changes []change
}

// change is what became of an instance's status, and the event that tells of it.
type change struct {
	instance Instance
	event    Event
}

func (d *dirty) add(in Instance, e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, change{in, e})
}

// take gives the oldest.
func (d *dirty) take(limit int) []change {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(limit, len(d.changes))
	taken := d.changes[:n:n]
	if d.changes = d.changes[n:]; len(d.changes) == 0 {
		d.changes = nil
	}
	return taken
}

// pull takes out those of one instance, for whoever stores it.
func (d *dirty) pull(id string) (events []Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = slices.DeleteFunc(d.changes, func(c change) bool {
		if c.instance.ID == id {
			events = append(events, c.event)
		}
		return c.instance.ID == id
	})
	return events
}

// giveBack puts what was pulled, and could not be stored, in front again.
func (d *dirty) giveBack(in Instance, events []Event) {
	var back []change
	for _, e := range events {
		back = append(back, change{in, e})
	}
	d.putBack(back)
}

func (d *dirty) putBack(changes []change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(slices.Clip(changes), d.changes...)
}

// RunFlush stores what happened in memory, until ctx ends; then once more.
func (s *Service) RunFlush(ctx context.Context) {
	statuses, heartbeats, forget := time.NewTicker(flushStatuses), time.NewTicker(min(flushHeartbeats, s.cfg.Lease/3)), time.NewTicker(forgetEvery)
	defer statuses.Stop()
	defer heartbeats.Stop()
	defer forget.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushHeartbeats)
			defer cancel()
			if err := s.flush(last); err != nil {
				s.cfg.Logger.WarnContext(ctx, "flush_incomplete", "error", err)
			}
			return
		case <-statuses.C:
			err = s.flushStatuses(ctx)
		case <-heartbeats.C:
			if err = s.flushHeartbeats(ctx); err == nil && s.accompanied() {
				err = s.Refresh(ctx)
			}
		case <-forget.C:
			if s.peers.Mine("forget") {
				err = s.store.Forget(ctx, s.cfg.Now().Add(-forgetAfter))
			}
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.WarnContext(ctx, "flush_postponed", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

func (s *Service) flush(ctx context.Context) error {
	if err := s.flushStatuses(ctx); err != nil {
		return err
	}
	return s.flushHeartbeats(ctx)
}

func (s *Service) flushStatuses(ctx context.Context) error {
	for {
		more, err := s.flushSome(ctx)
		if err != nil || !more {
			return err
		}
	}
}

func (s *Service) flushSome(ctx context.Context) (more bool, err error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	changes := s.statuses.take(flushBatch)
	if len(changes) == 0 {
		return false, nil
	}
	last := map[string]Instance{} // what was seen last of each
	var events []Event
	for _, c := range changes {
		if m, _ := s.fleet.find(c.instance.ID, routing.URL{}); m == nil {
			continue // it was removed, which was told already
		}
		last[c.instance.ID] = c.instance
		events = append(events, c.event)
	}
	if err := s.store.SaveStatuses(ctx, slices.Collect(maps.Values(last)), events); err != nil {
		s.statuses.putBack(changes)
		return false, fmt.Errorf("save statuses: %w", err)
	}
	if !s.peers.Alone() {
		s.peers.Tell(slices.Collect(maps.Keys(last))...)
	}
	return true, nil
}

// flushHeartbeats stores that instances were heard of, to the exactness of the flush.
func (s *Service) flushHeartbeats(ctx context.Context) error {
	var beaten []*member
	for _, m := range s.fleet.all() {
		if m.lastBeat.Load() != m.flushed.Load() || m.current.Load().Beats && !m.noted.Load() {
			beaten = append(beaten, m)
		}
	}
	now := s.cfg.Now()
	for len(beaten) > 0 {
		batch := beaten[:min(flushBatch, len(beaten))]
		beaten = beaten[len(batch):]
		ids := make([]string, len(batch))
		seen := make([]int64, len(batch))
		var beating []string
		for i, m := range batch {
			is := m.current.Load()
			ids[i], seen[i] = is.ID, m.lastBeat.Load()
			if is.Beats && !m.noted.Load() {
				beating = append(beating, is.ID)
				m.noted.Store(true)
			}
		}
		if err := s.store.SaveHeartbeats(ctx, ids, now, beating); err != nil {
			for _, m := range batch {
				m.noted.Store(false) // whether it is, the next look finds out
			}
			return fmt.Errorf("save heartbeats: %w", err)
		}
		for i, m := range batch {
			m.flushed.Store(seen[i])
			m.stored.Store(now.UnixMicro())
		}
	}
	return nil
}
