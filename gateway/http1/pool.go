package http1

import (
	"sync"
	"syscall"
	"time"

	"micromesh/gateway/http1/wire"
)

// fresh is how long a connection that was just used is taken to be alive without a look. Requests that may be sent twice
// find out by trying; for others there is always a look.
const fresh = time.Second

// upstreamConn is a connection to an upstream server.
type upstreamConn struct {
	link
	pool   *pool
	scan   wire.HeadScanner
	res    wire.Response
	reused bool
	since  time.Time // idle since then

	raw  syscall.RawConn // nil where the socket can't be looked at
	peek func(fd uintptr)
	dead bool // what peek found
}

// close closes the connection for good.
func (up *upstreamConn) close() {
	_ = up.conn.Close()
	up.release()
}

// pool keeps the idle connections to an endpoint. The one that was used last is used first: so the others age, and a burst's
// connections are closed after it.
type pool struct {
	max int

	mu      sync.Mutex
	idle    []*upstreamConn // the oldest first
	used    time.Time
	retired bool // nothing is kept any more
}

func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// get takes a connection out; nil where there is none that lives. safe says that the request may be tried on a connection
// that turns out to be dead.
func (p *pool) get(now time.Time, safe bool) *upstreamConn {
	for {
		p.mu.Lock()
		n := len(p.idle) - 1
		if n < 0 {
			p.used = now
			p.mu.Unlock()
			return nil
		}
		up := p.idle[n]
		p.idle[n] = nil
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if safe && now.Sub(up.since) < fresh || up.alive() {
			up.reused = true
			return up
		}
		up.close()
	}
}

// put takes a connection back, on which nothing is at work.
func (p *pool) put(up *upstreamConn, now time.Time) {
	up.since = now
	p.mu.Lock()
	keep := !p.retired && len(p.idle) < p.max
	if keep {
		p.idle = append(p.idle, up)
		p.used = now
	}
	p.mu.Unlock()
	if !keep {
		up.close()
	}
}

// expire closes what has been idle since before then.
func (p *pool) expire(before time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].since.Before(before) {
		n++
	}
	old := append([]*upstreamConn(nil), p.idle[:n]...)
	rest := copy(p.idle, p.idle[n:])
	clear(p.idle[rest:])
	p.idle = p.idle[:rest]
	p.mu.Unlock()
	for _, up := range old {
		up.close()
	}
}

// retire closes the pool, if it was not used since then; the zero time means in any case. It reports whether it did.
func (p *pool) retire(unusedSince time.Time) bool {
	p.mu.Lock()
	if !unusedSince.IsZero() && p.used.After(unusedSince) {
		p.mu.Unlock()
		return false
	}
	p.retired = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, up := range idle {
		up.close()
	}
	return true
}
