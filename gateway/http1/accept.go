package http1

import (
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

// maxTurning is how many connections are turned away politely at the same time. More are just closed.
const maxTurning = 64

// Serve takes connections from ln, which it closes in the end, and serves each in a goroutine of its own. It returns
// ErrServerClosed after Shutdown; otherwise, what broke the listener. Running out of file descriptors doesn't: it waits
// for some to become free.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close()
	if !s.track(&ln) {
		return ErrServerClosed
	}
	defer s.untrack(&ln)
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			s.take(nc)
		case s.draining.Load():
			return ErrServerClosed
		case !passing(err):
			return err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accepting failed", "error", err, "retry_in", pause)
			s.sleep(pause)
		}
	}
}

// passing reports whether an error of Accept is one that goes away.
func passing(err error) bool {
	for _, e := range [...]error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET,
		syscall.EINTR, syscall.EAGAIN,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return isTimeout(err)
}

func (s *Server) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.base.Done():
	}
}

func (s *Server) track(ln *net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[ln] = struct{}{}
	if !s.monitored {
		s.monitored = true
		s.running.Go(s.monitor)
	}
	return true
}

func (s *Server) untrack(ln *net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

// take serves a new connection, or turns it away if there is no room for it.
func (s *Server) take(nc net.Conn) {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	c := newConn(s, nc)
	serve := c.serve
	if s.cfg.MaxConns > 0 && len(s.conns) >= s.cfg.MaxConns {
		serve = c.turnAway
	} else {
		s.conns[c] = struct{}{}
	}
	s.running.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		defer s.forget(c)
		serve()
	}()
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// turnAway answers 503 without waiting for a request. A TLS client can't be told before a handshake, which is too much
// work for a server that is full.
func (c *conn) turnAway() {
	defer c.release()
	c.srv.turnedAway.Add(1)
	select {
	case c.srv.turning <- struct{}{}:
		defer func() { <-c.srv.turning }()
	default:
		_ = c.in.conn.Close()
		return
	}
	if c.tls {
		_ = c.in.conn.Close()
		return
	}
	c.x.req.Minor = 1
	c.x.start()
	c.x.answer.close = true
	c.x.header.Set("Retry-After", "1")
	c.x.Fail(http.StatusServiceUnavailable, CodeOverloaded, "too many connections; try again in a moment")
	c.x.end()
	c.linger()
}
