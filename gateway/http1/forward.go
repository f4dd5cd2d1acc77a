package http1

import (
	"errors"
	"io"
	"net/http"
	"syscall"
	"time"

	"micromesh/gateway/http1/wire"
)

// The bounds of what is read of a request's body before it is forwarded.
const (
	replayable = 64 << 10              // bytes; a body that isn't longer is read as a whole, so that it can be sent again
	firstChunk = 20 * time.Millisecond // for the first chunk: most malformed bodies show there, before anybody acts on them
)

// maxInterim is how many interim (1xx) answers may precede an answer.
const maxInterim = 16

var (
	errAnswered  = errors.New("the request is answered already")
	errInterim   = errors.New("too many interim answers")
	errUpgrade   = errors.New("the upstream switched to a protocol that it was not asked for")
	errNoAnswer  = errors.New("the upstream closed the connection without an answer")
	errPartially = errors.New("the upstream closed the connection in the middle of the answer's head")
)

// forwarding is a request on its way to an upstream and back. It is part of the exchange, to be used again.
type forwarding struct {
	u      *Upstreams
	x      *Exchange
	target Target
	opts   ForwardOptions

	up      *upstreamConn
	body    body // of the answer
	pump    *pump
	upgrade bool      // the client's wish for another protocol is passed on
	last    bool      // the connection is closed after the exchange, and the upstream is told so
	asked   time.Time // when KeepStream was asked
	sent    bool      // something of the request was written to the upstream
	heard   bool      // something of an answer came from it
	wrote   bool      // something of the answer may have reached the client
	expects bool      // the upstream is asked whether it wants the body, as the client asks
	early   bool      // it has answered without the body: its connection is in no state to be used again
	start   time.Time
	out     Outcome
}

// Forward has the target answer the exchange's request, and streams the answer to the client. If that fails before
// anything of an answer was written, the client has got nothing: the caller answers it, or forwards it to another target
// where the outcome is Retryable. A pooled connection that turns out to be closed is replaced by a new one in here.
func (u *Upstreams) Forward(x *Exchange, target Target, opts ForwardOptions) Outcome {
	f := &x.fwd
	*f = forwarding{u: u, x: x, target: target, opts: opts}
	inherit(&f.opts.HeaderTimeout, u.cfg.HeaderTimeout)
	inherit(&f.opts.StreamTimeout, u.cfg.StreamTimeout)
	inherit(&f.opts.TunnelTimeout, u.cfg.TunnelTimeout)
	f.upgrade = f.upgrades()
	switch {
	case x.answer.status != 0:
		return Outcome{Result: Broken, Err: errAnswered}
	case x.streamed:
		return Outcome{Result: BadRequest, Err: bodyConsumed()}
	}
	if err := f.prepare(); err != nil {
		f.badBody(err)
		return f.out
	}
	if f.attempt(false); f.stale() {
		f.sent = false
		f.attempt(true)
	}
	f.up, f.opts.KeepTunnel, f.opts.Watch, f.opts.Record = nil, nil, nil, nil
	return f.out
}

// inherit sets an option that is zero to what the configuration says, and one that is Unlimited to the zero that means so.
func inherit(d *time.Duration, configured time.Duration) {
	switch {
	case *d == 0:
		*d = configured
	case *d < 0:
		*d = 0
	}
}

// prepare reads as much of the request's body as is to be sent with its head: all of a small one, unless the client waits for 100 (Continue).
func (f *forwarding) prepare() error {
	x := f.x
	length := x.req.Length
	switch {
	case x.body.ended():
		return nil
	case length > x.body.limit || length > 0 && length <= replayable && !x.waits():
		if err := x.openBody(); err != nil {
			return err
		}
		return x.readAhead(replayable)
	}
	if err := x.readReady(replayable); err != nil || length != wire.Chunked || len(x.pre) > 0 || x.expects {
		return err
	}
	if x.body.ended() {
		return nil
	}
	x.c.in.readUntil(time.Now().Add(firstChunk))
	if err := x.c.in.fill(); err != nil && !isTimeout(err) {
		return err
	}
	return x.readReady(replayable)
}

// attempt forwards the request once, on a new connection if anew says so.
func (f *forwarding) attempt(anew bool) {
	c := f.x.c
	f.x.bodyRead()
	if err := f.connect(anew); err != nil {
		f.x.answer.buf = f.x.answer.buf[:0]
		c.busy()
		f.fail(ConnectFailed, err)
		if c.gone.Load() {
			f.clientGone()
		}
		return
	}
	if err := c.await(&f.up.link); err != nil {
		f.x.answer.buf = f.x.answer.buf[:0]
		f.clientGone()
		f.leave(false)
		return
	}
	done := f.send() && f.receive() && f.relay()
	f.leave(done && !f.early)
}

// connect renders the request, and gets a connection to the target. The request comes first: as little time as possible is
// to pass between the look at a pooled connection and the write.
func (f *forwarding) connect(anew bool) error {
	p, err := f.u.pool(&f.target)
	if err != nil {
		return err
	}
	f.start = time.Now()
	f.up = nil
	carries := f.x.req.Length != 0
	var who owner
	if carries {
		who = f.caller()
	}
	f.last = carries && who == (owner{}) || p.isWary(f.start)
	f.expects = f.x.waits() && len(f.x.pre) == 0 && f.x.req.Length <= f.x.body.limit
	f.render()
	if !anew {
		f.up = f.pooled(p, carries, who)
	}
	if f.up == nil {
		if f.up, err = f.u.dial(f.x.Context(), &f.target, p); err != nil {
			return err
		}
		f.start = time.Now()
	}
	if carries {
		f.up.owned, f.up.owner = true, who
	}
	return nil
}

// pooled returns an idle connection, or nil. A request with a body prefers a connection that is the caller's already.
func (f *forwarding) pooled(p *pool, carries bool, who owner) *upstreamConn {
	if carries {
		if up := p.getOwned(f.start, who); up != nil {
			return up
		}
		return p.get(f.start)
	}
	if up := p.get(f.start); up != nil || !p.hasOwned() {
		return up
	}
	return p.getOwned(f.start, f.caller())
}

// caller identifies the caller for connections that serve it alone. It returns the zero owner for an anonymous caller whose connection
// may carry requests of other callers.
func (f *forwarding) caller() owner {
	if f.opts.Caller != "" {
		return owner{caller: f.opts.Caller}
	}
	return owner{conn: f.x.SoleConn()}
}

// leave gives the connection back, for the next request if it is reusable. Nothing of this exchange touches it any more.
func (f *forwarding) leave(reusable bool) {
	c := f.x.c
	if f.pump != nil && !f.pump.stop() {
		reusable = false
	}
	c.busy()
	c.behind.Store(nil)
	switch {
	case c.gone.Load():
		if f.out.Result != Answered {
			f.clientGone()
		}
		reusable = false // whoever noticed may have closed it
	case f.pump != nil && f.pump.refused != nil && f.out.Result != Answered:
		f.badBody(f.pump.refused)
	}
	if !reusable {
		f.up.close()
		return
	}
	if f.up.owned && f.up.owner.conn == c.id {
		c.park(f.up.pool)
	}
	f.up.pool.put(f.up, time.Now())
}

// render renders the request: its head, and what was read of the body.
func (f *forwarding) render() {
	x := f.x
	x.room(smallBuffer / 2)
	b := f.appendRequest(x.answer.buf)
	x.answer.buf = b
	x.room(len(x.pre) + smallBuffer/4)
	if x.req.Length == wire.Chunked {
		x.answer.buf = appendChunk(x.answer.buf, x.pre)
		if x.body.ended() {
			x.answer.buf = appendTrailers(x.answer.buf, x.body.chunks.Trailers, f.u.cfg.Filter)
		}
	} else {
		x.answer.buf = append(x.answer.buf, x.pre...)
	}
}

// send writes the rendered request in one, and has the rest of the body pumped.
func (f *forwarding) send() bool {
	x := f.x
	n, err := f.up.write(x.answer.buf, f.u.cfg.WriteTimeout)
	x.answer.buf = x.answer.buf[:0]
	f.sent = n > 0
	if err != nil {
		f.fail(Closed, err)
		return false
	}
	if x.body.ended() {
		return true
	}
	if f.expects {
		switch f.ask() {
		case answered:
			f.early = true
			return true
		case failed:
			return false
		case goOn:
		}
	}
	if err := x.openBody(); err != nil {
		f.badBody(err)
		return false
	}
	x.streamed = true
	f.pump = startPump(f)
	return true
}

// fail notes that there is no answer.
func (f *forwarding) fail(r Result, err error) {
	f.out.Result, f.out.Err = r, err
	f.out.Retryable = !f.wrote && !f.x.streamed && (!f.sent || idempotent(f.x.req.Method))
	f.out.Reused = f.up != nil && f.up.reused
}

// badBody notes that the client's body could not be read.
func (f *forwarding) badBody(err error) {
	f.out = Outcome{Result: BadRequest, Err: err}
	var refusal *wire.Error
	if !errors.As(err, &refusal) {
		f.x.c.clientGone()
		f.clientGone()
	}
}

// clientGone notes that there is nobody to answer.
func (f *forwarding) clientGone() {
	f.out.Result, f.out.Err, f.out.Retryable = ClientGone, ErrClientGone, false
}

// stale reports whether the attempt failed on a pooled connection that the upstream had given up meanwhile, so that it says
// nothing about the upstream.
func (f *forwarding) stale() bool {
	return f.out.Result == Closed && f.out.Retryable && f.out.Reused && !f.heard &&
		(errors.Is(f.out.Err, errNoAnswer) || errors.Is(f.out.Err, syscall.ECONNRESET) || errors.Is(f.out.Err, syscall.EPIPE))
}

// receive reads the answer's head, passing interim ones on.
func (f *forwarding) receive() bool {
	up := f.up
	for range maxInterim {
		end, ok := f.readHead()
		if !ok {
			return false
		}
		if err := up.res.Parse(up.buffered()[:end], f.x.req.Method, up.scan.Limits); err != nil {
			f.fail(BadAnswer, err)
			return false
		}
		f.out.Status = up.res.Status
		switch {
		case up.res.Status >= 200 || up.res.Status == http.StatusSwitchingProtocols:
			up.pin(end)
			return true
		case up.res.Status != http.StatusContinue && f.x.req.Minor > 0:
			f.interim()
		}
		up.discard(end)
	}
	f.fail(BadAnswer, errInterim)
	return false
}

// readHead reads until a head is complete, and gives its length.
func (f *forwarding) readHead() (int, bool) {
	up := f.up
	up.scan.Reset()
	var by time.Time
	for {
		end, err := up.scan.Scan(up.buffered())
		if err != nil {
			f.fail(BadAnswer, err)
			return 0, false
		}
		if end > 0 {
			return end, true
		}
		if by.IsZero() {
			up.readWithin(f.patience())
		} else {
			up.readUntil(by)
		}
		err = up.fill()
		switch {
		case err == nil:
			f.note()
		case isTimeout(err) && f.pump != nil && f.pump.busy(f.opts.HeaderTimeout):
			continue // the upstream has not got the whole request yet
		case isTimeout(err) && f.waits():
			continue
		default:
			f.headFailed(err)
			return 0, false
		}
		if by.IsZero() && f.opts.HeaderTimeout > 0 {
			by = time.Now().Add(f.opts.HeaderTimeout)
		}
	}
}

// glance is how often a watch is asked about a request that waits.
const glance = 200 * time.Millisecond

// watched tells whether somebody knows better than the clock whether the answer is still to come.
func (f *forwarding) watched() bool {
	return f.opts.Watch != nil && !f.heard && f.pump == nil && safe(f.x.req.Method)
}

// patience is how long to wait for the next bit of the answer's head; 0 is for ever.
func (f *forwarding) patience() time.Duration {
	d := f.opts.HeaderTimeout
	if f.watched() && (d == 0 || d > glance) {
		return glance
	}
	return d
}

// waits tells whether to go on waiting after a glance.
func (f *forwarding) waits() bool {
	now := time.Now()
	if !f.watched() || f.up.interrupted.Load() || f.opts.HeaderTimeout > 0 && now.Sub(f.start) >= f.opts.HeaderTimeout {
		return false
	}
	f.out.Abandoned = f.opts.Watch.Abandon(f.start, now)
	return !f.out.Abandoned
}

func (f *forwarding) headFailed(err error) {
	switch {
	case isTimeout(err):
		f.fail(TimedOut, err)
	case !errors.Is(err, io.EOF):
		f.fail(Closed, err)
	case f.heard:
		f.fail(BadAnswer, errPartially)
	default:
		f.fail(Closed, errNoAnswer)
	}
}

// safe reports whether a method asks for nothing but an answer (RFC 9110 section 9.2.1).
func safe(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return false
}

// idempotent reports whether doing it twice is as good as once, by the method's definition (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
