package wire

import (
	"bytes"
	"net/http"
)

// Limits bound the head of a message.
type Limits struct {
	Line   int // bytes of the first line
	Head   int // bytes of the whole head, the first line and the empty one included
	Fields int // field lines
}

// HeadScanner finds where a head ends while its bytes come in. It refuses early what could never become a head: lines
// that end in a bare LF, a first byte that starts no message, more than the limits.
// Its zero value with Limits set is ready; Reset makes it so again.
type HeadScanner struct {
	Limits Limits

	at    int // everything before is scanned
	line  int // where the present line starts
	lines int // complete lines before it
}

// Reset makes the scanner ready for the next head.
func (s *HeadScanner) Reset() { s.at, s.line, s.lines = 0, 0, 0 }

// Scan looks at b, which holds the head's bytes so far, from its first one. It gives the length of the head, or 0 where
// the end has not come yet; then it is called again with more, and goes on where it stopped.
func (s *HeadScanner) Scan(b []byte) (int, error) {
	if s.at == 0 && len(b) > 0 && classes[b[0]]&token == 0 {
		return 0, malformed("this is not an HTTP message")
	}
	for {
		i := bytes.IndexByte(b[s.at:], '\n')
		if i < 0 {
			s.at = len(b)
			return 0, s.check(len(b), len(b))
		}
		lf := s.at + i
		if lf == 0 || b[lf-1] != '\r' {
			return 0, malformed("a line ends in a bare LF; lines end in CRLF")
		}
		s.at = lf + 1
		if lf-1 == s.line {
			return s.at, s.check(s.at, 0)
		}
		if err := s.check(s.at, s.at); err != nil {
			return 0, err
		}
		s.lines++
		s.line = s.at
	}
}

// check compares what was seen with the limits; first is how long the first line is if this is still it.
func (s *HeadScanner) check(size, first int) error {
	switch {
	case s.lines == 0 && first > s.Limits.Line:
		return &Error{
			Status: http.StatusRequestURITooLong, Code: CodeTargetTooLong,
			Reason: "the request line is too long",
		}
	case size > s.Limits.Head:
		return headerTooLarge("the header is too large")
	case s.lines-1 > s.Limits.Fields:
		return headerTooLarge("too many header fields")
	}
	return nil
}
