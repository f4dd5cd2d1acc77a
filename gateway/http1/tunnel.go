package http1

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// tunnel passes bytes between a client and an upstream that have switched to another protocol.
type tunnel struct {
	f      *forwarding
	client *link
	up     *link
	last   atomic.Int64 // when a byte went through, in Unix nanoseconds
}

// switchProtocols passes the answer 101 on, and then whatever either side sends, until both have ended. It always reports
// false: the upstream's connection is used up.
func (f *forwarding) switchProtocols() bool {
	x, res := f.x, &f.up.res
	if !f.upgrade || !sameName(res.Upgrade, x.req.Upgrade) {
		x.answer.status = 0
		f.fail(BadAnswer, errUpgrade)
		return false
	}
	b := x.statusLine(x.answer.buf, res.Status, string(res.Reason))
	for i := range res.Fields {
		if field := &res.Fields[i]; oneHop>>field.ID&1 == 0 && !res.Names(field.Name) && !x.replaces(field.Name) {
			b = appendField(b, field.Name, field.Value)
		}
	}
	b = x.header.appendTo(b)
	b = append(b, "Connection: Upgrade\r\n"...)
	b = appendField(b, "Upgrade", res.Upgrade)
	b = append(b, "\r\n"...)
	x.answer.buf = b
	f.wrote = true
	x.flush()
	x.answer.detour = true
	f.out.Result, f.out.Err = Answered, nil
	if x.answer.broken {
		f.clientGone()
		return false
	}
	x.c.busy()
	x.c.state.Store(x.c.at(phaseTunnel))
	t := &tunnel{f: f, client: &x.c.in, up: &f.up.link}
	t.run()
	x.c.state.Store(x.c.at(phaseBusy))
	return false
}

// run passes bytes in both directions until both have ended.
func (t *tunnel) run() {
	t.touch()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.pipe(t.up, t.client)
	}()
	t.pipe(t.client, t.up)
	<-done
}

func (t *tunnel) touch() { t.last.Store(time.Now().UnixNano()) }

// pipe passes on what src sends. At src's end it says so to dst, which may go on sending; at an error, when the tunnel has
// been idle for too long, or when it may not stay, it closes both. Each direction asks: it may be the last one.
func (t *tunnel) pipe(dst, src *link) {
	keep, asked := t.f.opts.KeepTunnel, time.Now()
	for {
		if data := src.buffered(); len(data) > 0 {
			if _, err := dst.write(data, t.f.u.cfg.WriteTimeout); err != nil {
				break
			}
			src.discard(len(data))
			t.touch()
		}
		if keep != nil && time.Since(asked) >= t.patience() {
			if asked = time.Now(); !keep() {
				break
			}
		}
		src.readWithin(t.patience())
		err := src.fill()
		switch {
		case err == nil:
			continue
		case isTimeout(err) && !t.expired():
			continue
		case errors.Is(err, io.EOF) && dst.closeWrite() == nil:
			return
		}
		break
	}
	_ = t.client.conn.Close()
	_ = t.up.conn.Close()
}

// patience is the time between two looks at the tunnel: whether it is idle, and whether it may stay.
func (t *tunnel) patience() time.Duration {
	check := t.f.u.cfg.TunnelCheck
	if idle := t.f.opts.TunnelTimeout; idle > 0 {
		return min(idle/4, check)
	}
	return check
}

func (t *tunnel) expired() bool {
	idle := t.f.opts.TunnelTimeout
	return idle > 0 && time.Since(time.Unix(0, t.last.Load())) >= idle
}
