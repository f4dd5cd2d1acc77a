package http1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("the server is closed")

// Server serves HTTP/1.0 and HTTP/1.1. Make one with NewServer; it serves any number of listeners.
type Server struct {
	cfg     Config
	buffers buffers
	date    atomic.Pointer[string]
	second  int64 // of date; the monitor's own

	base     context.Context // ends when the server is closed: the parent of all exchanges' contexts
	close    context.CancelFunc
	draining atomic.Bool
	running  sync.WaitGroup // connections and the monitor
	turning  chan struct{}  // bounds how many are being turned away at once

	mu        sync.Mutex
	monitored bool
	listeners map[*net.Listener]struct{} // by their variables, since a listener need not be comparable
	conns     map[*conn]struct{}

	requests, refused, turnedAway atomic.Uint64
}

// Stats are counts of a server's work so far, and its open connections.
type Stats struct {
	OpenConns  int
	Requests   uint64 // handed to the handler
	Refused    uint64 // not taken for requests: malformed, too large, too slow
	TurnedAway uint64 // connections over Config.MaxConns
}

// NewServer makes a server. It fails with all that is wrong with the configuration.
func NewServer(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the HTTP server: %w", err)
	}
	cfg.setDefaults()
	s := &Server{
		cfg:       cfg,
		turning:   make(chan struct{}, maxTurning),
		listeners: make(map[*net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}
	s.base, s.close = context.WithCancel(context.Background())
	s.setDate(time.Now())
	return s, nil
}

// Stats gives the present counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	return Stats{
		OpenConns: open, Requests: s.requests.Load(), Refused: s.refused.Load(), TurnedAway: s.turnedAway.Load(),
	}
}

// Shutdown stops the listeners, closes idle connections and tunnels at once, answers with Connection: close from now on,
// and waits until the requests at work are answered. When ctx ends, it breaks what is left off and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for ln := range s.listeners {
		_ = (*ln).Close()
	}
	s.mu.Unlock()
	err := s.drain(ctx)
	// Before the contexts end: a handler that hears of its context's end returns, and must not be taken for one that failed.
	s.each((*conn).kill)
	s.close()
	s.each((*conn).kill) // what was being accepted meanwhile
	if err == nil {
		s.running.Wait()
	}
	return err
}

// drain waits until all connections are closed.
func (s *Server) drain(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s.each((*conn).retire)
		if s.Stats().OpenConns == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// retire closes a connection on which nothing is at work.
func (c *conn) retire() {
	c.poke()
	if c.state.Load()&phaseMask == phaseTunnel {
		c.kill()
	}
}

// each calls f for every connection.
func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// setDate renders the time for Date fields, once a second.
func (s *Server) setDate(now time.Time) {
	if second := now.Unix(); second != s.second {
		s.second = second
		date := now.UTC().Format(http.TimeFormat)
		s.date.Store(&date)
	}
}

// trusts reports whether addr is one of the trusted proxies.
func (s *Server) trusts(addr netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
