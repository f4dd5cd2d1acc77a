package http1

// Watched is how many connections are read by a watcher now.
func Watched(s *Server) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.state.Load()&phaseMask == phaseWatched {
			n++
		}
	}
	return n
}

// Trust has upstreams forget that one of them sent bytes that belong to no answer.
func (u *Upstreams) Trust() {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, p := range u.pools {
		p.waryUntil.Store(0)
	}
}
