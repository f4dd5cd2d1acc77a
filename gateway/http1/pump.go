package http1

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"micromesh/gateway/http1/wire"
)

// pump streams a request's body to the upstream, in a goroutine, while the connection's own goroutine reads the answer:
// an upstream may answer before it has read everything.
type pump struct {
	f       *forwarding
	done    chan struct{}
	ended   atomic.Int64 // when the upstream had all of it, in Unix nanoseconds
	refused error        // why the client's body could not be read; to be read when done
	whole   bool         // all of it was sent; to be read when done
}

func startPump(f *forwarding) *pump {
	p := &pump{f: f, done: make(chan struct{})}
	go p.run()
	return p
}

func (p *pump) run() {
	defer close(p.done)
	x := p.f.x
	x.c.in.widen()
	buf := p.f.u.buffers.get(wideBuffer)
	defer p.f.u.buffers.put(buf)
	for {
		data, err := x.body.next()
		switch {
		case errors.Is(err, io.EOF):
			p.whole = p.finish(buf[:0])
			p.ended.Store(time.Now().UnixNano())
			x.bodyRead()
			return
		case err != nil:
			if !x.c.in.interrupted.Load() {
				p.refused = err
			}
			_ = p.f.up.conn.Close() // a body that ends too early must not look complete
			return
		}
		if p.send(buf, data) != nil {
			return // the answer, if there is one, says why
		}
	}
}

// send writes data to the upstream, in chunks if the body is chunked.
func (p *pump) send(buf, data []byte) error {
	const overhead = 32 // of a chunk
	if p.f.x.body.length != wire.Chunked {
		_, err := p.f.up.write(data, p.f.u.cfg.WriteTimeout)
		return err
	}
	for len(data) > 0 {
		n := min(len(data), len(buf)-overhead)
		if _, err := p.f.up.write(appendChunk(buf[:0], data[:n]), p.f.u.cfg.WriteTimeout); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// finish writes the end of a chunked body.
func (p *pump) finish(buf []byte) bool {
	if p.f.x.body.length != wire.Chunked {
		return true
	}
	buf = appendTrailers(buf, p.f.x.body.chunks.Trailers, p.f.u.cfg.Filter)
	_, err := p.f.up.write(buf, p.f.u.cfg.WriteTimeout)
	return err == nil
}

// busy reports whether the upstream can't be late yet: it does not have the whole body, or has had it for less than d.
func (p *pump) busy(d time.Duration) bool {
	ended := p.ended.Load()
	if ended != 0 {
		return time.Since(time.Unix(0, ended)) < d-slack(d)
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop ends the pump, if it has not ended by itself, and reports whether the upstream got the whole body. After it the
// rest of the body can be read from the client's connection.
func (p *pump) stop() bool {
	select {
	case <-p.done:
	default:
		p.f.x.c.in.interrupt()
		_ = p.f.up.conn.Close()
		<-p.done
		p.f.x.c.in.resume()
	}
	return p.whole
}
