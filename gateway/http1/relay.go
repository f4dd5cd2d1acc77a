package http1

import (
	"errors"
	"net/http"
	"time"

	"micromesh/gateway/http1/wire"
)

// interim passes an interim answer on at once.
func (f *forwarding) interim() {
	x, res := f.x, &f.up.res
	b := x.statusLine(x.answer.buf, res.Status, string(res.Reason))
	for i := range res.Fields {
		if field := &res.Fields[i]; oneHop>>field.ID&1 == 0 && !res.Names(field.Name) {
			b = appendField(b, field.Name, field.Value)
		}
	}
	b = append(b, "\r\n"...)
	x.answer.buf = b
	x.flush()
}

// relay sends the answer, whose head was read, to the client. It reports whether the upstream's connection can be used for
// another request.
func (f *forwarding) relay() bool {
	x, res := f.x, &f.up.res
	x.answer.status = res.Status
	f.out.Reused = f.up.reused
	if res.Status == http.StatusSwitchingProtocols {
		return f.switchProtocols()
	}
	chunk := res.Length < 0 && x.req.Minor > 0
	x.answer.close = x.answer.close || f.early || x.c.srv.draining.Load() || res.Length < 0 && !chunk
	f.appendAnswer(chunk)
	if f.opts.Record != nil {
		f.opts.Record.Head(res.Status, f.fields)
	}
	f.body.start(&f.up.link, res.Length)
	f.body.idle, f.asked = f.opts.StreamTimeout, f.start
	if err := f.stream(chunk); err != nil {
		f.breakOff(err)
		return false
	}
	if chunk {
		x.room(smallBuffer / 4)
		x.answer.buf = appendTrailers(x.answer.buf, f.body.chunks.Trailers, nil)
	}
	x.flush()
	f.out.Result, f.out.Err = Answered, nil
	if x.answer.broken {
		f.clientGone()
		return false
	}
	return f.reusable()
}

// reusable reports whether the upstream's connection can be used for another request, now that the answer has been read.
func (f *forwarding) reusable() bool {
	up := f.up
	if up.res.Close || f.upgrade || up.spent {
		return false
	}
	if len(up.buffered()) > 0 { // RFC 9112 section 9.2
		up.pool.distrust(up, time.Now())
		return false
	}
	return true
}

// fields gives the fields of the upstream's answer that are not for one hop.
func (f *forwarding) fields(yield func(name, value []byte) bool) {
	res := &f.up.res
	for i := range res.Fields {
		if field := &res.Fields[i]; oneHop>>field.ID&1 == 0 && !res.Names(field.Name) && !yield(field.Name, field.Value) {
			return
		}
	}
}

// replaces reports whether the handler has set a field, so that the upstream's is dropped. Values of Vary add up.
func (x *Exchange) replaces(name []byte) bool {
	return x.header.has(name) && !wire.EqualFold(name, "vary")
}

// appendAnswer renders the head for the client.
func (f *forwarding) appendAnswer(chunk bool) {
	x, res := f.x, &f.up.res
	x.room(smallBuffer / 2)
	b := x.statusLine(x.answer.buf, res.Status, string(res.Reason))
	dated := false
	for i := range res.Fields {
		field := &res.Fields[i]
		switch {
		case field.ID == wire.ContentLength && res.Length >= 0 && res.Status != http.StatusNoContent:
		case field.ID == wire.Trailer && chunk:
		case oneHop>>field.ID&1 != 0 || res.Names(field.Name) || x.replaces(field.Name):
			continue
		}
		dated = dated || field.ID == wire.Date
		b = appendField(b, field.Name, field.Value)
	}
	if !dated {
		b = appendField(b, "Date", *x.c.srv.date.Load())
	}
	b = x.header.appendTo(b)
	framed := wire.UntilClose
	if chunk {
		framed = wire.Chunked
	}
	x.answer.buf = x.framing(b, framed)
}

// stream sends the answer's body. What has come from the upstream is sent to the client before more is waited for.
func (f *forwarding) stream(chunk bool) error {
	for {
		data, err := f.body.ready()
		switch {
		case err == nil:
			f.pass(data, chunk)
		case errors.Is(err, wire.ErrMore):
			f.x.flush()
			f.wrote = true
			if f.x.answer.broken {
				return ErrClientGone
			}
			if f.body.left > smallBuffer || f.body.length < 0 {
				f.up.widen()
			}
			if err := f.more(); err != nil && !f.body.ended() {
				return err
			}
		case f.body.ended():
			return nil
		default:
			return err
		}
	}
}

// errNotKept reports that a stream may not go on: its caller's credentials are not valid any more.
var errNotKept = errors.New("the caller may not receive more")

// more reads more of the answer's body. KeepStream is asked meanwhile.
func (f *forwarding) more() error {
	keep, check := f.opts.KeepStream, f.u.cfg.TunnelCheck
	if keep == nil {
		return f.body.fill()
	}
	idle := f.opts.StreamTimeout
	for waiting := time.Now(); ; {
		f.body.idle = check
		if idle > 0 {
			f.body.idle = max(min(check, idle-time.Since(waiting)), time.Millisecond)
		}
		err := f.body.fill()
		now := time.Now()
		if now.Sub(f.asked) >= check {
			if f.asked = now; !keep(f.x) {
				return errNotKept
			}
		}
		if err == nil || !isTooSlow(err) || idle > 0 && now.Sub(waiting) >= idle {
			return err
		}
	}
}

// pass renders data for the client, and writes it where that is worth a write.
func (f *forwarding) pass(data []byte, chunk bool) {
	const overhead = 32 // of a chunk
	x := f.x
	if f.opts.Record != nil {
		f.opts.Record.Data(data)
	}
	if !chunk && len(x.answer.buf) == 0 && len(data) >= smallBuffer {
		f.wrote = true
		x.send(data)
		return
	}
	for len(data) > 0 {
		n := min(len(data), wideBuffer-overhead-len(x.answer.buf))
		if n <= 0 {
			f.wrote = true
			x.flush()
			continue
		}
		x.room(n + overhead)
		if chunk {
			x.answer.buf = appendChunk(x.answer.buf, data[:n])
		} else {
			x.answer.buf = append(x.answer.buf, data[:n]...)
		}
		data = data[n:]
	}
}

// breakOff ends an answer that can't be completed. As long as nothing of it was written, there can be another one.
func (f *forwarding) breakOff(err error) {
	x := f.x
	x.answer.buf = x.answer.buf[:0]
	switch {
	case x.c.gone.Load():
		f.clientGone()
	case errors.Is(err, errNotKept):
		x.answer.broken = true
		f.clientGone()
	case f.wrote:
		x.answer.broken = true
		f.fail(Broken, err)
	default:
		x.answer.status, x.answer.close = 0, x.req.Close
		f.fail(BadAnswer, err)
	}
}
