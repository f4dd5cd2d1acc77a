package http1

import (
	"runtime"
	"sync/atomic"
	"time"
)

// sweep is how often the server looks for exchanges that wait, and so about how long it takes until one is watched.
const sweep = 100 * time.Millisecond

// phase says who may read a client's connection.
type phase = uint64

const (
	phaseBusy    phase = iota + 1 // its own goroutine, for the present request
	phaseIdle                     // its own goroutine, waiting for a request
	phasePoking                   // Shutdown is about to wake it from idling
	phasePoked                    // Shutdown has
	phaseWaiting                  // nobody, while the answer is being made
	phaseWatched                  // the watcher, meanwhile
	phaseTunnel                   // the tunnel that it has become
	phaseMask    = 0xff
)

// watch is the part of a conn that decides who reads it. The owner is the goroutine of the connection (or the one that
// streams a request's body on its behalf); only from idle and waiting may another one take it, with a compare-and-swap.
type watch struct {
	state   atomic.Uint64 // seq<<8 | phase
	seq     uint64        // counts requests, so that the sweep knows whether it sees the same one again
	seen    uint64        // the state that the last sweep saw; the sweep's own
	watched chan struct{} // the watcher is done
}

// at is the state that says that the present request is in that phase.
func (w *watch) at(p phase) uint64 { return w.seq<<8 | p }

// nextRequest counts a request.
func (c *conn) nextRequest() {
	c.seq++
	c.state.Store(c.at(phaseBusy))
}

// idle says that the connection waits for a request.
func (c *conn) idle() { c.state.Store(c.at(phaseIdle)) }

// waiting says that all of the request has been read, and the connection may be watched. Saying so again changes nothing.
func (c *conn) waiting() { c.state.CompareAndSwap(c.at(phaseBusy), c.at(phaseWaiting)) }

// busy takes the connection back, from whoever reads it.
func (c *conn) busy() {
	for {
		s := c.state.Load()
		switch s & phaseMask {
		case phaseBusy:
			return
		case phaseIdle, phaseWaiting:
			if c.state.CompareAndSwap(s, c.at(phaseBusy)) {
				return
			}
			continue
		case phasePoking:
			runtime.Gosched()
			continue
		case phaseWatched:
			c.in.interrupt()
			<-c.watched
		}
		c.in.resume()
		c.state.Store(c.at(phaseBusy))
		return
	}
}

// poke wakes the connection if it is idle.
func (c *conn) poke() {
	s := c.state.Load()
	if s&phaseMask == phaseIdle && c.state.CompareAndSwap(s, s&^phaseMask|phasePoking) {
		c.in.interrupt()
		c.state.Store(s&^phaseMask | phasePoked)
	}
}

// look is called on each sweep: an exchange that was seen waiting by the last one is watched from now on.
func (c *conn) look() {
	s := c.state.Load()
	if s&phaseMask != phaseWaiting {
		return
	}
	if s != c.seen {
		c.seen = s
		return
	}
	if c.state.CompareAndSwap(s, s&^phaseMask|phaseWatched) {
		go c.watchClient()
	}
}

// watchClient reads from the connection while nobody else does, to learn when the client has gone. It ends with the first
// bytes, which are the next request's, since a client that goes on sending is there; or when busy interrupts it.
func (c *conn) watchClient() {
	defer func() { c.watched <- struct{}{} }()
	in := &c.in
	if in.w == len(in.buf) {
		if in.base == 0 {
			return
		}
		in.replace(wideBuffer)
	}
	in.readWithin(0)
	n, err := in.conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 || in.interrupted.Load() {
		return
	}
	if err != nil {
		c.clientGone()
	}
}

// monitor sweeps over the connections, and keeps the time, until the server is closed.
func (s *Server) monitor() {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case now := <-tick.C:
			s.setDate(now)
			s.each((*conn).look)
		}
	}
}
