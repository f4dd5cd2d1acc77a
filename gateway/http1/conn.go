package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"micromesh/gateway/http1/wire"
)

// What the end of a request or of a connection may take.
const (
	drainTime  = 500 * time.Millisecond // for the next bit of a body that nobody wanted, or of what a refused client sends
	lingerTime = 2 * time.Second        // for all of it
	lingerSize = 16 << 20               // bytes of the latter
	lastLook   = 50 * time.Millisecond  // for a request that was on its way when its connection is to be closed
)

// conns counts the connections of all servers, so that no two have the same number.
var conns atomic.Uint64

// mostParked is the maximum number of pools that may hold idle connections for one client's connection.
const mostParked = 4

// conn serves one client's connection, in one goroutine.
type conn struct {
	id      uint64
	srv     *Server
	parked  []*pool // may have upstream connections that are for this one alone
	in      link
	tls     bool
	trusted bool // the peer is a trusted proxy
	remote  netip.AddrPort
	peer    string // remote's address as text
	born    time.Time
	scan    wire.HeadScanner
	x       Exchange

	watch // who reads the connection at the moment

	mu     sync.Mutex // guards ctx, cancel
	ctx    context.Context
	cancel context.CancelCauseFunc

	gone   atomic.Bool          // the client has left, or was thrown out
	behind atomic.Pointer[link] // the upstream connection that the exchange waits for
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{id: conns.Add(1), srv: s, born: time.Now()}
	c.in.init(nc, &s.buffers)
	_, c.tls = nc.(*tls.Conn)
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		c.remote = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	c.peer = c.remote.Addr().String()
	c.trusted = s.trusts(c.remote.Addr())
	c.scan.Limits = s.cfg.limits()
	c.watched = make(chan struct{}, 1)
	c.state.Store(c.at(phaseBusy))
	c.x.c = c
	return c
}

// serve serves requests until the connection ends.
func (c *conn) serve() {
	defer c.release()
	for c.readHead() && c.serveRequest() {
	}
}

// park notes that an idle connection in the pool is for this client's connection alone.
func (c *conn) park(p *pool) {
	if slices.Contains(c.parked, p) {
		return
	}
	if len(c.parked) == mostParked {
		c.parked[0].disown(c.id)
		c.parked = slices.Delete(c.parked, 0, 1)
	}
	c.parked = append(c.parked, p)
}

// release returns the buffers, and closes the upstream connections that are for this client's connection alone.
func (c *conn) release() {
	for _, p := range c.parked {
		p.disown(c.id)
	}
	c.in.release()
	c.srv.buffers.put(c.x.answer.buf)
	c.x.answer.buf = nil
}

// readHead reads the next request's head into the exchange. It reports false where the connection has ended instead,
// or was ended since what came is no request.
func (c *conn) readHead() bool {
	c.scan.Reset()
	var by time.Time
	emptied := false
	for {
		if !emptied {
			emptied = c.emptyLine()
		}
		var end int
		var err error
		if b := c.in.buffered(); emptied || string(b) != "\r" {
			end, err = c.scan.Scan(b)
		}
		if err == nil && end > 0 {
			err = c.x.req.Parse(c.in.buffered()[:end], c.scan.Limits)
		}
		if err != nil {
			c.refuse(err)
			return false
		}
		if end > 0 {
			c.in.pin(end)
			return true
		}
		if len(c.in.buffered()) == 0 {
			err = c.awaitFirst()
		} else {
			if by.IsZero() {
				by = c.headBy()
			}
			c.in.readUntil(by)
			err = c.in.fill()
		}
		if err != nil {
			c.headFailed(err)
			return false
		}
	}
}

// emptyLine consumes the empty line that some clients send after a body (RFC 9112, 2.2), and reports whether there was one.
func (c *conn) emptyLine() bool {
	const line = "\r\n"
	if b := c.in.buffered(); len(b) < len(line) || string(b[:len(line)]) != line {
		return false
	}
	c.in.discard(len(line))
	return true
}

// headBy is until when the head must be complete whose first bytes have just come. The first head of a connection has
// its time from the start of the connection.
func (c *conn) headBy() time.Time {
	from := time.Now()
	if c.seq == 0 {
		from = c.born
	}
	return from.Add(c.srv.cfg.HeaderTimeout)
}

// awaitFirst waits for the first bytes of a request.
func (c *conn) awaitFirst() error {
	c.idle()
	if c.seq == 0 {
		c.in.readUntil(c.born.Add(c.srv.cfg.HeaderTimeout))
	} else {
		c.in.readWithin(c.srv.cfg.IdleTimeout)
	}
	err := c.in.fill()
	c.busy()
	if err != nil && isTimeout(err) && c.srv.draining.Load() {
		c.in.readUntil(time.Now().Add(lastLook))
		err = c.in.fill()
	}
	return err
}

// headFailed ends the connection on which no more could be read. Only who has sent part of a head, and still listens, is
// told why.
func (c *conn) headFailed(err error) {
	if isTimeout(err) && len(c.in.buffered()) > 0 {
		c.refuse(headerTooSlow())
		return
	}
	_ = c.in.conn.Close()
}

// refuse answers something that is not a request that we take, and ends the connection: where the next request would
// start, nobody knows.
func (c *conn) refuse(err error) {
	var refusal *wire.Error
	if !errors.As(err, &refusal) {
		refusal = &wire.Error{Status: http.StatusBadRequest, Code: wire.CodeMalformed, Reason: "the request is malformed"}
	}
	c.srv.refused.Add(1)
	c.x.req = wire.Request{Message: wire.Message{Minor: 1}, Method: c.x.req.Method}
	c.x.start()
	c.x.answer.close = true
	c.x.Fail(refusal.Status, refusal.Code, refusal.Reason)
	c.x.end()
	c.linger()
}

// serveRequest has the handler answer the request that was read. It reports whether the connection goes on.
func (c *conn) serveRequest() bool {
	x := &c.x
	x.start()
	c.srv.requests.Add(1)
	c.nextRequest()
	if x.body.ended() {
		c.waiting()
	}
	c.handle()
	c.busy()
	c.endContext()
	keep := c.finish()
	x.end()
	if keep {
		c.in.unpin()
	}
	return keep
}

// handle calls the handler, and turns a panic into an answer.
func (c *conn) handle() {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
			c.srv.cfg.Logger.Error("handler panicked", "panic", v, "stack", string(debug.Stack()))
		}
		c.x.answer.close = true
		if c.x.answer.status != 0 || v == http.ErrAbortHandler { //nolint:errorlint // as above
			c.x.answer.broken = true
		}
	}()
	c.srv.cfg.Handler.ServeHTTP1(&c.x)
}

// finish completes the answer and makes way for the next request. It reports false where it closed the connection.
func (c *conn) finish() bool {
	x := &c.x
	if x.answer.detour {
		_ = c.in.conn.Close()
		return false
	}
	x.stream.finish()
	if x.answer.status == 0 && !x.answer.broken && !c.gone.Load() {
		x.Fail(http.StatusInternalServerError, CodeInternal, "the request could not be answered")
	}
	switch {
	case x.answer.broken || c.gone.Load():
		c.in.reset()
	case x.answer.close && x.body.ended() && len(c.in.buffered()) == 0:
		_ = c.in.conn.Close()
	case x.answer.close:
		c.linger()
	case !x.body.ended() && !x.drain():
		c.linger()
	default:
		return true
	}
	return false
}

// linger closes a connection whose client may still be sending. Closing it at once would have the answer lost on the way:
// the client's next bytes would be answered with a reset.
func (c *conn) linger() {
	defer c.in.conn.Close()
	if c.in.closeWrite() != nil {
		return
	}
	c.in.unpin()
	end := time.Now().Add(lingerTime)
	for left := lingerSize; left > 0; left -= len(c.in.buffered()) {
		c.in.discard(len(c.in.buffered()))
		by := time.Now().Add(drainTime)
		if by.After(end) {
			by = end
		}
		c.in.readUntil(by)
		if c.in.fill() != nil {
			return
		}
	}
}

// context gives the exchange's context, and makes it on the first call.
func (c *conn) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(c.srv.base)
		if c.gone.Load() {
			c.cancel(ErrClientGone)
		}
	}
	return c.ctx
}

// endContext ends the context of the exchange that is over.
func (c *conn) endContext() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(nil)
	}
	c.ctx, c.cancel = nil, nil
}

// clientGone ends what the exchange waits for.
func (c *conn) clientGone() {
	c.gone.Store(true)
	c.mu.Lock()
	if c.cancel != nil {
		c.cancel(ErrClientGone)
	}
	c.mu.Unlock()
	if up := c.behind.Load(); up != nil {
		_ = up.conn.Close()
	}
}

// kill ends the connection from outside.
func (c *conn) kill() {
	c.clientGone()
	_ = c.in.conn.Close()
}

// await notes the upstream connection that has to be closed if the client goes. It fails if it has gone already.
func (c *conn) await(up *link) error {
	c.behind.Store(up)
	if c.gone.Load() {
		return ErrClientGone
	}
	return nil
}
