package http1

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"micromesh/gateway/http1/wire"
)

// wary is the time for which connections to an upstream aren't reused after it sent bytes that belong to no answer.
const wary = 10 * time.Second

// owner identifies the only caller that may use a connection again. The zero owner is no caller.
type owner struct {
	conn   uint64 // an anonymous caller is known by its connection
	caller string // a signed-in one by ForwardOptions.Caller
}

// upstreamConn is a connection to an upstream server.
//
// It is in one of three states. A clean connection carried no request with a body, and serves any caller. An owned one
// carried such a request: if the upstream did not read the body, it takes it for another request, so that the connection
// serves only the caller that sent it, until it is closed. A spent one is closed after its exchange.
type upstreamConn struct {
	link
	socket
	pool   *pool
	scan   wire.HeadScanner
	res    wire.Response
	reused bool
	since  time.Time // idle since then
	owned  bool
	owner  owner // if owned
	spent  bool
}

// close closes the connection for good.
func (up *upstreamConn) close() {
	_ = up.conn.Close()
	up.release()
}

// pool keeps the idle connections to an endpoint. The one that was used last is used first: so the others age, and a burst's
// connections are closed after it.
type pool struct {
	max     int
	surplus func() // called when the upstream has sent bytes that belong to no answer

	mu        sync.Mutex
	idle      []*upstreamConn // clean, the oldest first
	owned     []ownedConn     // the oldest first
	used      time.Time
	retired   bool         // nothing is kept any more
	waryUntil atomic.Int64 // in Unix nanoseconds
}

// ownedConn has the owner beside the connection, so that a search reads one piece of memory.
type ownedConn struct {
	owner
	up *upstreamConn
}

func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle) + len(p.owned)
}

// get takes a clean connection out. It returns nil if it finds no usable one.
func (p *pool) get(now time.Time) *upstreamConn {
	for {
		p.mu.Lock()
		p.used = now
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return nil
		}
		up := p.idle[n]
		p.idle[n] = nil
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if p.usable(up, now) {
			return up
		}
	}
}

// getOwned takes out a connection that belongs to the caller. It returns nil if it finds no usable one.
func (p *pool) getOwned(now time.Time, who owner) *upstreamConn {
	if who == (owner{}) {
		return nil
	}
	for {
		p.mu.Lock()
		p.used = now
		i := len(p.owned) - 1
		for i >= 0 && p.owned[i].owner != who {
			i--
		}
		if i < 0 {
			p.mu.Unlock()
			return nil
		}
		up := p.owned[i].up
		p.owned = slices.Delete(p.owned, i, i+1)
		p.mu.Unlock()
		if p.usable(up, now) {
			return up
		}
	}
}

// usable reports whether a connection that was taken out is open, with no byte waiting to be read. It closes any other.
func (p *pool) usable(up *upstreamConn, now time.Time) bool {
	switch up.look(&up.link) {
	case quiet:
		up.reused = true
		return true
	case talking:
		p.distrust(up, now)
	case ended:
	}
	up.close()
	return false
}

// distrust notes that the upstream has sent bytes that belong to no answer: for a while none of its connections is reused,
// since such bytes may also come too late to be seen. On an owned connection they say nothing about the upstream: its
// caller can cause them.
func (p *pool) distrust(up *upstreamConn, now time.Time) {
	if up.owned {
		return
	}
	p.mu.Lock()
	before := p.isWary(now)
	p.waryUntil.Store(now.Add(wary).UnixNano())
	drop := p.takeAll()
	p.mu.Unlock()
	for _, up := range drop {
		up.close()
	}
	if !before && p.surplus != nil {
		p.surplus()
	}
}

// isWary reports whether connections are not kept now.
func (p *pool) isWary(now time.Time) bool { return now.UnixNano() < p.waryUntil.Load() }

// hasOwned reports whether there may be a connection for one of the callers.
func (p *pool) hasOwned() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.owned) > 0
}

// takeAll empties the pool. The caller holds mu, and closes the connections.
func (p *pool) takeAll() []*upstreamConn {
	all := p.idle
	for _, o := range p.owned {
		all = append(all, o.up)
	}
	p.idle, p.owned = nil, nil
	return all
}

// put takes a connection back, on which nothing is at work.
func (p *pool) put(up *upstreamConn, now time.Time) {
	if !up.settled() {
		if up.look(&up.link) != quiet {
			p.distrust(up, now)
			up.close()
			return
		}
	}
	up.unpin()
	up.since = now
	p.mu.Lock()
	drop := p.keep(up, now)
	p.mu.Unlock()
	if drop != nil {
		drop.close()
	}
}

// settled reports whether what the last read left behind can wait until the next look, just before the connection is reused.
// It can't if there is more for certain, or if it may lie where only TLS sees it.
func (up *upstreamConn) settled() bool { return !up.full && up.records == nil }

// keep adds a connection. It returns the connection that must be closed instead, or nil. The caller holds mu.
func (p *pool) keep(up *upstreamConn, now time.Time) (drop *upstreamConn) {
	if p.retired || up.spent || p.isWary(now) || up.owned && up.owner == (owner{}) {
		return up
	}
	if len(p.idle)+len(p.owned) >= p.max {
		if len(p.owned) == 0 {
			return up
		}
		drop = p.owned[0].up
		p.owned = slices.Delete(p.owned, 0, 1)
	}
	if up.owned {
		p.owned = append(p.owned, ownedConn{up.owner, up})
	} else {
		p.idle = append(p.idle, up)
	}
	p.used = now
	return drop
}

// disown closes the connections of an anonymous caller that has gone.
func (p *pool) disown(conn uint64) {
	var drop []*upstreamConn
	p.mu.Lock()
	p.owned = slices.DeleteFunc(p.owned, func(o ownedConn) bool {
		if o.conn == conn {
			drop = append(drop, o.up)
		}
		return o.conn == conn
	})
	p.mu.Unlock()
	for _, up := range drop {
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
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	n = 0
	for ; n < len(p.owned) && p.owned[n].up.since.Before(before); n++ {
		old = append(old, p.owned[n].up)
	}
	p.owned = slices.Delete(p.owned, 0, n)
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
	all := p.takeAll()
	p.mu.Unlock()
	for _, up := range all {
		up.close()
	}
	return true
}
