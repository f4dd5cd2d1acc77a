package wire

import (
	"bytes"
	"errors"
	"io"
)

// The limits of the chunked coding. Extensions and trailers carry nothing that we use, so a little is plenty.
const (
	maxChunkLine     = 256      // a chunk's size and extension
	maxChunkExt      = 16 << 10 // all extensions of a body together
	maxTrailer       = 8 << 10  // bytes of the trailer section
	maxTrailerFields = 32       // fields of it
	maxChunkDigits   = 15       // hexadecimal digits of a size: below 1<<60, so that sums don't overflow
)

// ErrMore says that the bytes at hand end before the next step could be done.
var ErrMore = errors.New("more bytes are needed")

// Chunks takes the chunked coding off a body (RFC 9112 section 7.1). Its zero value is ready.
type Chunks struct {
	// Trailers are the trailer fields once Next has returned io.EOF: slices of the bytes it was given last.
	Trailers Fields

	state state
	left  int64 // bytes of the present chunk that are to come
	ext   int   // bytes of extensions so far
}

// state is where in the coding a body stands.
type state uint8

const (
	atSize state = iota
	inData
	atDataEnd
	inTrailer
	atEnd
)

// Reset makes c ready for another body.
func (c *Chunks) Reset() { *c = Chunks{Trailers: c.Trailers[:0]} }

// Left is how many bytes of the present chunk are to come.
func (c *Chunks) Left() int64 { return c.left }

// Next takes the coding off the start of b. It gives how many bytes of b are done with, and the data among them, if any.
// It returns ErrMore where b ends too early (n may be more than 0 even then), io.EOF at the end of the body, and an
// [*Error] where the coding is broken.
func (c *Chunks) Next(b []byte) (n int, data []byte, err error) {
	for {
		var k int
		switch c.state {
		case atSize:
			k, err = c.size(b[n:])
		case inData:
			if data = b[n : n+int(min(c.left, int64(len(b)-n)))]; len(data) == 0 {
				return n, nil, ErrMore
			}
			if c.left -= int64(len(data)); c.left == 0 {
				c.state = atDataEnd
			}
			return n + len(data), data, nil
		case atDataEnd:
			k, err = c.dataEnd(b[n:])
		case inTrailer:
			k, err = c.trailer(b[n:])
		case atEnd:
			return n, nil, io.EOF
		}
		if err != nil {
			return n, nil, err
		}
		n += k
	}
}

// size reads 1*HEXDIG [";" extension] CRLF.
func (c *Chunks) size(b []byte) (int, error) {
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		if len(b) > maxChunkLine || len(b) > 0 && unhex(b[0]) < 0 {
			return 0, malformed("a chunk's size is malformed")
		}
		return 0, ErrMore
	}
	if lf < 1 || b[lf-1] != '\r' || lf > maxChunkLine {
		return 0, malformed("a chunk's size does not end in CRLF")
	}
	line, size, digits := b[:lf-1], int64(0), 0
	for ; digits < len(line) && unhex(line[digits]) >= 0; digits++ {
		if digits == maxChunkDigits {
			return 0, malformed("a chunk's size is too large")
		}
		size = size<<4 | int64(unhex(line[digits]))
	}
	ext := line[digits:]
	if digits == 0 || len(ext) > 0 && ext[0] != ';' || !all(ext, chunkExt) {
		return 0, malformed("a chunk's size is not a hexadecimal number")
	}
	if c.ext += len(ext); c.ext > maxChunkExt {
		return 0, malformed("the body has too many chunk extensions")
	}
	c.left, c.state = size, inData
	if size == 0 {
		c.state = inTrailer
	}
	return lf + 1, nil
}

// dataEnd reads the CRLF behind a chunk's data.
func (c *Chunks) dataEnd(b []byte) (int, error) {
	const crlf = "\r\n"
	if got := b[:min(len(b), len(crlf))]; string(got) != crlf[:len(got)] {
		return 0, malformed("a chunk is longer than its size")
	}
	if len(b) < len(crlf) {
		return 0, ErrMore
	}
	c.state = atSize
	return len(crlf), nil
}

// trailer reads the trailer section, which must be in b as a whole.
func (c *Chunks) trailer(b []byte) (int, error) {
	var scan HeadScanner
	scan.Limits = Limits{Line: maxTrailer, Head: maxTrailer, Fields: maxTrailerFields}
	var end int
	switch {
	case len(b) >= 2 && b[0] == '\r' && b[1] == '\n':
		end = 2
	case len(b) == 0 || len(b) == 1 && b[0] == '\r':
		return 0, ErrMore
	default:
		var err error
		if end, err = scan.Scan(b); err != nil {
			return 0, badTrailer(err)
		}
	}
	if end == 0 {
		return 0, ErrMore
	}
	var err error
	if c.Trailers, err = appendFields(c.Trailers[:0], b[:end], maxTrailerFields); err != nil {
		return 0, badTrailer(err)
	}
	c.state = atEnd
	return end, nil
}

// badTrailer answers whatever is wrong with a trailer as a malformed request: by then it is too late for 414 or 431.
func badTrailer(err error) error {
	return malformed("the trailer section is malformed: " + err.Error())
}
