package http1

import (
	"errors"
	"io"
	"math"
	"time"

	"micromesh/gateway/http1/wire"
)

// bodyGrace is how long a body may take before its average rate counts.
const bodyGrace = 5 * time.Second

// body takes a message's body off a link. ready and next give it in windows of the link's buffer, which stay valid until
// the next fill. Its end is io.EOF; a body that breaks off is io.ErrUnexpectedEOF.
type body struct {
	l      *link
	length int64 // as in wire.Message: how the body is framed
	left   int64 // of a body with a known length
	chunks wire.Chunks

	seen  int64
	limit int64 // of seen
	err   error // sticky
	over  bool  // err is io.EOF

	idle    time.Duration // between reads; 0 is no limit
	minRate int           // bytes a second, on average; 0 is none
	waited  time.Duration // in reads so far
}

func (b *body) start(l *link, length int64) {
	chunks := b.chunks
	chunks.Reset()
	*b = body{l: l, length: length, left: max(length, 0), chunks: chunks, limit: math.MaxInt64}
	if length == 0 {
		b.end()
	}
}

// end notes that all of the body has been taken.
func (b *body) end() { b.err, b.over = io.EOF, true }

// ended reports whether all of the body has been read, as far as is known without reading.
func (b *body) ended() bool { return b.over }

// ready gives what can be had without reading from the connection; wire.ErrMore if that is nothing.
func (b *body) ready() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	data, err := b.take()
	b.seen += int64(len(data))
	switch {
	case errors.Is(err, io.EOF):
		b.end()
		return nil, err
	case err != nil && !errors.Is(err, wire.ErrMore):
		b.err = err
		return nil, err
	case b.seen+b.chunks.Left() > b.limit: // also where only a chunk's size has come yet
		b.err = bodyTooLarge(b.limit)
		return nil, b.err
	case err != nil:
		return nil, err
	}
	if b.length > 0 && b.left == 0 {
		b.end()
	}
	return data, nil
}

// take takes data out of the link's buffer.
func (b *body) take() ([]byte, error) {
	if b.length == wire.Chunked {
		n, data, err := b.chunks.Next(b.l.buffered())
		b.l.discard(n)
		return data, err
	}
	data := b.l.buffered()
	if len(data) == 0 {
		return nil, wire.ErrMore
	}
	if b.length > 0 {
		data = data[:min(int64(len(data)), b.left)]
		b.left -= int64(len(data))
	}
	b.l.discard(len(data))
	return data, nil
}

// next gives the next bytes, and reads from the connection if there are none at hand.
func (b *body) next() ([]byte, error) {
	for {
		data, err := b.ready()
		if !errors.Is(err, wire.ErrMore) {
			return data, err
		}
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads from the connection. A timeout doesn't stick, since it may be an interrupt.
func (b *body) fill() error {
	d := b.patience()
	if d < 0 {
		b.err = bodyTooSlow()
		return b.err
	}
	b.l.readWithin(d)
	start := time.Now()
	err := b.l.fill()
	b.waited += time.Since(start)
	switch {
	case err == nil:
		return nil
	case isTimeout(err):
		return bodyTooSlow()
	case errors.Is(err, io.EOF) && b.length == wire.UntilClose:
		b.end()
	case errors.Is(err, io.EOF):
		b.err = io.ErrUnexpectedEOF
	default:
		b.err = err
	}
	return b.err
}

// patience is how long the next read may take: 0 is for ever, less is no longer.
func (b *body) patience() time.Duration {
	if b.minRate <= 0 {
		return b.idle
	}
	earned := time.Hour
	if seconds := float64(b.seen) / float64(b.minRate); seconds < time.Hour.Seconds() {
		earned = time.Duration(seconds * float64(time.Second))
	}
	left := bodyGrace + earned - b.waited
	if left <= 0 {
		return -1
	}
	if b.idle > 0 {
		return min(b.idle, left)
	}
	return left
}
