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
