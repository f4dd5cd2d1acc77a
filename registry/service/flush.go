package service

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	flushStatuses   = 50 * time.Millisecond
	flushHeartbeats = 3 * time.Second
	flushBatch      = 500 // rows of one transaction: other writers wait for it
	forgetAfter     = 24 * time.Hour
	forgetEvery     = time.Hour
)

// dirty is the statuses that are to be stored, by instance: what was seen last, and all that happened.
type dirty struct {
	mu        sync.Mutex
	instances map[string]Instance
	events    []Event
}

func (d *dirty) add(in Instance, e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.instances == nil {
		d.instances = map[string]Instance{}
	}
	d.instances[in.ID] = in
	d.events = append(d.events, e)
}

// take gives a batch: events in their order, and the instances that they are about.
func (d *dirty) take(limit int) (in []Instance, events []Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(limit, len(d.events))
	events = d.events[:n:n]
	d.events = d.events[n:]
	for _, e := range events {
		if i, ok := d.instances[e.ID]; ok {
			in = append(in, i)
			delete(d.instances, e.ID)
		}
	}
	return in, events
}

// giveBack puts a batch that could not be stored in front again. What was seen since counts more.
func (d *dirty) giveBack(in []Instance, events []Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range in {
		if _, newer := d.instances[i.ID]; !newer {
			d.instances[i.ID] = i
		}
	}
	d.events = append(events, d.events...)
}

// RunFlush stores what happened in memory, until ctx ends; then once more.
func (s *Service) RunFlush(ctx context.Context) {
	statuses, heartbeats, forget := time.NewTicker(flushStatuses), time.NewTicker(flushHeartbeats), time.NewTicker(forgetEvery)
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
			err = s.flushHeartbeats(ctx)
		case <-forget.C:
			err = s.store.Forget(ctx, s.cfg.Now().Add(-forgetAfter))
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
		in, events := s.statuses.take(flushBatch)
		if len(events) == 0 {
			return nil
		}
		if err := s.store.SaveStatuses(ctx, in, events); err != nil {
			s.statuses.giveBack(in, events)
			return fmt.Errorf("save statuses: %w", err)
		}
	}
}

// flushHeartbeats stores that instances were heard of, to the exactness of the flush.
func (s *Service) flushHeartbeats(ctx context.Context) error {
	var beaten []*member
	for _, m := range s.fleet.all() {
		if m.lastBeat.Load() != m.flushed {
			beaten = append(beaten, m)
		}
	}
	now := s.cfg.Now()
	for len(beaten) > 0 {
		batch := beaten[:min(flushBatch, len(beaten))]
		beaten = beaten[len(batch):]
		ids := make([]string, len(batch))
		seen := make([]int64, len(batch))
		for i, m := range batch {
			ids[i], seen[i] = m.current.Load().ID, m.lastBeat.Load()
		}
		if err := s.store.SaveHeartbeats(ctx, ids, now); err != nil {
			return fmt.Errorf("save heartbeats: %w", err)
		}
		for i, m := range batch {
			m.flushed = seen[i]
		}
	}
	return nil
}
