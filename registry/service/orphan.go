package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"micromesh/pkg/errs"
)

const (
	orphanCheck = time.Second      // between two looks at deleted accounts that may still have instances
	orphanWatch = 15 * time.Second // for how long a token of a deleted account may still register one
)

// orphans are slugs of accounts that were deleted a moment ago, or that still have instances.
type orphans struct {
	mu    sync.Mutex
	until map[string]time.Time
	woken chan struct{}
}

func newOrphans() orphans {
	return orphans{until: map[string]time.Time{}, woken: make(chan struct{}, 1)}
}

// Orphaned is called when the account of a slug was deleted. RunOrphans removes its instances.
func (s *Service) Orphaned(slug string, at time.Time) {
	until := at.Add(orphanWatch)
	if !s.fleet.has(slug) && s.cfg.Now().After(until) {
		return
	}
	s.orphans.mu.Lock()
	s.orphans.until[slug] = until
	s.orphans.mu.Unlock()
	select {
	case s.orphans.woken <- struct{}{}:
	default:
	}
}

// RunOrphans removes the instances of accounts that were deleted, until ctx ends.
func (s *Service) RunOrphans(ctx context.Context) {
	again := time.NewTicker(orphanCheck)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.orphans.woken:
		case <-again.C:
		}
		if err := s.removeOrphans(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.WarnContext(ctx, "orphans_kept", "error", err)
		}
	}
}

func (s *Service) removeOrphans(ctx context.Context) error {
	s.orphans.mu.Lock()
	slugs := make([]string, 0, len(s.orphans.until))
	for slug, until := range s.orphans.until {
		if s.fleet.has(slug) {
			slugs = append(slugs, slug)
		} else if s.cfg.Now().After(until) {
			delete(s.orphans.until, slug)
		}
	}
	s.orphans.mu.Unlock()
	var failed []error
	for _, slug := range slugs {
		for _, m := range s.fleet.of(slug) {
			_, err := s.Remove(ctx, Caller{Others: true}, m.current.Load().ID)
			if err != nil && !errs.Is(err, errs.NotFound) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}
