package http1

import (
	"errors"
	"io"
	"math"
	"time"

	"micromesh/gateway/http1/wire"
)

// drainLimit is how much of a body that nobody wanted is read, to keep a connection for its next request.
const drainLimit = 256 << 10

// BodySize is the size of the request's body: -1 where it is chunked, 0 where there is none.
func (x *Exchange) BodySize() int64 { return x.req.Length }

// SetBodyLimit bounds the body to n bytes, for this request, in place of Config.MaxBodyBytes. A longer one makes reading
// or forwarding it fail, before the first byte if its length was announced. n may be Unlimited.
func (x *Exchange) SetBodyLimit(n int64) {
	x.body.limit = n
	if n == Unlimited {
		x.body.limit = math.MaxInt64
	}
}

// ReadBody reads the whole body, of at most limit bytes. What it gives is valid during the call of the handler; the
// request can still be forwarded after it. Its errors are for [Exchange.Refuse].
func (x *Exchange) ReadBody(limit int64) ([]byte, error) {
	x.SetBodyLimit(limit)
	if err := x.openBody(); err != nil {
		return nil, err
	}
	if err := x.readAhead(math.MaxInt); err != nil {
		return nil, err
	}
	return x.pre, nil
}

// Body reads the request's body, with the chunked coding taken off. Errors other than io.EOF are for [Exchange.Refuse].
func (x *Exchange) Body() io.Reader { return bodyReader{x} }

// bodyReader is the body as an io.Reader.
type bodyReader struct{ x *Exchange }

// Read gives first what was read ahead, then what comes.
func (r bodyReader) Read(p []byte) (int, error) {
	x := r.x
	if x.preRead < len(x.pre) {
		n := copy(p, x.pre[x.preRead:])
		x.preRead += n
		return n, nil
	}
	if len(x.window) == 0 {
		if err := x.openBody(); err != nil {
			return 0, err
		}
		data, err := x.body.next()
		if err != nil {
			x.bodyRead()
			return 0, err
		}
		x.window, x.streamed = data, true
	}
	n := copy(p, x.window)
	x.window = x.window[n:]
	return n, nil
}

// openBody is called before the body is read: it refuses one that announces too much, and tells a client to go on that
// waits for that.
func (x *Exchange) openBody() error {
	if x.req.Length > x.body.limit {
		return bodyTooLarge(x.body.limit)
	}
	waits := x.waits()
	x.expects = false
	if !waits {
		return nil
	}
	if _, err := x.c.in.write([]byte("HTTP/1.1 100 Continue\r\n\r\n"), x.c.srv.cfg.WriteTimeout); err != nil {
		return ErrClientGone
	}
	return nil
}

// waits reports whether the client waits for 100 (Continue): it sent Expect, and no part of the body.
func (x *Exchange) waits() bool { return x.expects && len(x.c.in.buffered()) == 0 }

// readAhead reads the body into pre, until it ends or pre has at least limit bytes.
func (x *Exchange) readAhead(limit int) error {
	for len(x.pre) < limit {
		data, err := x.body.next()
		if errors.Is(err, io.EOF) {
			x.bodyRead()
			return nil
		}
		if err != nil {
			return err
		}
		x.keep(data)
	}
	return nil
}

// readReady adds to pre what can be had of the body without waiting, up to about limit bytes.
func (x *Exchange) readReady(limit int) error {
	for len(x.pre) < limit {
		data, err := x.body.ready()
		switch {
		case err == nil:
			x.keep(data)
		case errors.Is(err, io.EOF):
			x.bodyRead()
			return nil
		case errors.Is(err, wire.ErrMore):
			return nil
		default:
			return err
		}
	}
	return nil
}

// keep appends data to pre. A body that lies whole in the link's buffer stays there: nothing is read over it.
func (x *Exchange) keep(data []byte) {
	if len(x.pre) == 0 && x.body.length > 0 && x.body.ended() {
		x.pre = data
		return
	}
	need := len(x.pre) + len(data)
	if need > len(x.preBuf) {
		bigger := x.c.srv.buffers.get(max(need, 2*len(x.preBuf)))
		copy(bigger, x.pre)
		x.c.srv.buffers.put(x.preBuf)
		x.preBuf = bigger
	}
	copy(x.preBuf[len(x.pre):], data)
	x.pre = x.preBuf[:need]
}

// bodyRead notes that the connection isn't read for this request any more, so that it can be watched.
func (x *Exchange) bodyRead() {
	if x.body.ended() {
		x.c.waiting()
	}
}

// unread reports whether so much of the body is left that the connection is better closed than drained.
func (x *Exchange) unread() bool {
	return x.expects || x.body.err != nil && !x.body.ended() || x.body.left > drainLimit
}

// drain reads what is left of the body. It reports whether the next request can follow.
func (x *Exchange) drain() bool {
	if x.expects || x.body.left > drainLimit {
		return false
	}
	x.body.idle, x.body.limit = drainTime, x.body.seen+drainLimit
	for end := time.Now().Add(lingerTime); time.Now().Before(end); {
		if _, err := x.body.next(); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
	return false
}
