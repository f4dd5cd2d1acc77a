package service

import (
	"sync"
	"time"
)

// fresh is how long after a token was issued it matters whether it was used: that of the grace, and the second to which
// tokens tell when they were issued.
const fresh = rotationGrace + time.Second

// sightings remembers which tokens were used within the first moments, by this process or another of the service.
type sightings struct {
	mu      sync.Mutex
	since   time.Time
	present map[string]bool
	past    map[string]bool // those of the time before since
}

func newSightings() *sightings { return &sightings{present: map[string]bool{}} }

// saw notes that a call carried a token, and tells whether that is news.
func (s *sightings) saw(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.present[id] || s.past[id] {
		return false
	}
	if age := now.Sub(s.since); age < 0 || age > 2*fresh {
		s.since, s.past, s.present = now, s.present, map[string]bool{}
	}
	s.present[id] = true
	return true
}

func (s *sightings) used(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present[id] || s.past[id]
}

// Saw tells the service that a call carried a verified token that was issued at a time: then whoever refreshed has got its
// answer.
func (s *Service) Saw(tokenID string, issued time.Time) {
	now := s.clock.now()
	if now.Sub(issued) <= fresh && s.seen.saw(tokenID, now) && s.peers != nil {
		s.peers.Used(tokenID)
	}
}

// Used tells the service that another process of it saw a token.
func (s *Service) Used(tokenID string) { s.seen.saw(tokenID, s.clock.now()) }
