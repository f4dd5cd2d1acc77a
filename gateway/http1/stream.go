package http1

import (
	"errors"
	"fmt"
	"io"

	"micromesh/gateway/http1/wire"
)

// ErrBodyLength says that more was written to a Stream than it was announced to have.
var ErrBodyLength = errors.New("the body is longer than announced")

// Stream is an answer's body that is written bit by bit. It is complete when the handler returns; where that is before all
// that was announced has been written, the client's connection breaks.
type Stream struct {
	x       *Exchange
	open    bool
	chunked bool
	none    bool  // there is no body to send: what is written is dropped
	left    int64 // of an announced length; -1 is unknown
}

var _ io.Writer = (*Stream)(nil)

// Stream starts an answer whose body follows. length is the body's, or -1 if it is not known: then the body is chunked or,
// to an HTTP/1.0 client, ends with the connection.
func (x *Exchange) Stream(status int, contentType string, length int64) *Stream {
	s := &x.stream
	if !x.begin(status) {
		*s = Stream{x: x, none: true, left: -1}
		return s
	}
	*s = Stream{x: x, open: true, none: x.bodiless(), left: max(length, -1)}
	framed := length
	if length < 0 {
		s.chunked = x.req.Minor > 0
		framed = wire.Chunked
		if !s.chunked {
			framed = wire.UntilClose
			x.answer.close = true
		}
	}
	x.localHead(contentType, framed)
	return s
}

// Bound has about so many bytes at most lie on the way to a client that doesn't read; then Write waits. Systems keep some
// megabytes else, which for a stream without an end is much made for nobody.
func (s *Stream) Bound(bytes int) { s.x.c.in.bound(bytes) }

// Write sends p, in time: it may wait in a buffer until that is full, or Flush is called. It fails with ErrClientGone, or
// with ErrBodyLength.
func (s *Stream) Write(p []byte) (int, error) {
	if s.left >= 0 {
		if int64(len(p)) > s.left {
			return 0, fmt.Errorf("write %d bytes of %d: %w", len(p), s.left, ErrBodyLength)
		}
		s.left -= int64(len(p))
	}
	if s.none {
		return len(p), nil
	}
	a := &s.x.answer
	if s.chunked {
		a.buf = appendChunk(a.buf, p)
	} else {
		a.buf = append(a.buf, p...)
	}
	if len(a.buf) >= joinBody {
		return len(p), s.Flush()
	}
	return len(p), nil
}

// Flush sends what was written so far. It fails with ErrClientGone.
func (s *Stream) Flush() error {
	s.x.flush()
	if s.x.answer.broken {
		return ErrClientGone
	}
	return nil
}

// finish completes the body.
func (s *Stream) finish() {
	if !s.open {
		return
	}
	s.open = false
	switch {
	case s.none:
	case s.left > 0:
		s.x.answer.broken = true
		return
	case s.chunked:
		s.x.answer.buf = append(s.x.answer.buf, "0\r\n\r\n"...)
	}
	s.x.flush()
}
