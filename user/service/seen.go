package service

import (
	"sync"
	"sync/atomic"
	"time"
)

// sightings remembers which of the tokens that were issued by a rotation a moment ago were used since, as far as this
// process saw.
type sightings struct {
	watched atomic.Int64 // how many; calls are spared the lock while there are none
	mu      sync.Mutex
	byID    map[string]*sighting
}

type sighting struct {
	issued time.Time
	used   bool
}

func newSightings() *sightings { return &sightings{byID: make(map[string]*sighting)} }

// watch begins to look out for a token, and forgets those that nobody can ask for any more.
func (s *sightings) watch(id string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, w := range s.byID {
		if now.Sub(w.issued) > 2*rotationGrace {
			delete(s.byID, other)
		}
	}
	s.byID[id] = &sighting{issued: now}
	s.watched.Store(int64(len(s.byID)))
}

// saw notes that a call carried a token.
func (s *sightings) saw(id string) {
	if s.watched.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.byID[id]; ok {
		w.used = true
	}
}

func (s *sightings) used(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.byID[id]
	return ok && w.used
}

// Saw tells the service that a call carried a verified token: then whoever refreshed has got its answer.
func (s *Service) Saw(tokenID string) { s.seen.saw(tokenID) }
