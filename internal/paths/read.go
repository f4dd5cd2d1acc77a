package paths

import (
	"errors"
	"slices"
	"strings"
)

// Limits of the readings of one path.
const (
	Max      = 32       // readings
	maxBytes = 16 << 10 // of all readings together; a request line has at most 8 KiB
)

// Errors of Read. Their texts are fit for the client.
var (
	ErrDotSegment = errors.New("the path must not have dot segments, however they are encoded")
	ErrNUL        = errors.New("the path must not have an encoded NUL")
	ErrTooMany    = errors.New("the path can be read in too many ways: send it without nested encoding, ;parameters and repeated slashes")
)

// feature is a set of the properties of a path that make servers read it differently.
type feature uint16

const (
	escape     feature = 1 << iota // %XX or %uXXXX
	params                         // a semicolon
	slashes                        // two slashes in a row
	backslash                      // a backslash
	foreign                        // bytes above ASCII, and control characters
	spaced                         // a space
	padded                         // spaces or pluses around a segment, or dots at its end
	ended                          // a question mark or a number sign
	trailing                       // a slash at the end
	dotSegment                     // a segment . or ..
	nul                            // a zero byte
	session                        // a segment such as (S(x))
	stream                         // a colon that a colon or a dollar sign follows
)

// class is the feature that a byte alone makes; look is for bytes whose neighbours decide.
const look feature = 1 << 15

var classes = func() (t [256]feature) {
	for c := range t {
		switch {
		case c == 0:
			t[c] = nul
		case c < ' ' || c >= 0x7f:
			t[c] = foreign
		}
	}
	for _, c := range "%/. +:" {
		t[c] = look
	}
	t[';'], t['\\'], t['?'], t['#'] = params, backslash, ended, ended
	return t
}()

// Plain reports whether a path has no other reading than itself. It allocates nothing.
func Plain(path string) bool { return scan(path) == 0 }

// scan returns the features of a path.
func scan(path string) (f feature) {
	for i := range len(path) {
		c := classes[path[i]]
		if c == 0 {
			continue
		}
		if c != look {
			f |= c
			continue
		}
		switch path[i] {
		case '%':
			if _, n := unescape(path[i:]); n > 1 {
				f |= escape
			}
		case '/':
			f |= atSlash(path, i)
		case ':':
			if rest := path[i+1:]; rest != "" && (rest[0] == ':' || rest[0] == '$') {
				f |= stream
			}
		case ' ', '+':
			if path[i] == ' ' {
				f |= spaced
			}
			if i == 0 || path[i-1] == '/' || endsSegment(path, i) {
				f |= padded
			}
		case '.':
			if endsSegment(path, i) {
				f |= padded
			}
		}
	}
	return f
}

// atSlash returns the features that the slash at i makes, with the segment that follows it.
func atSlash(path string, i int) (f feature) {
	rest := path[i+1:]
	switch {
	case rest == "" && i > 0:
		return trailing
	case rest == "":
		return 0
	case rest[0] == '/':
		return slashes
	case rest[0] == '(':
		return session
	case rest[0] != '.':
		return 0
	}
	rest = strings.TrimPrefix(rest[1:], ".")
	if rest == "" || rest[0] == '/' {
		return dotSegment
	}
	return 0
}

func endsSegment(path string, i int) bool { return i+1 == len(path) || path[i+1] == '/' }

// steps are the changes that servers make, by the feature that calls for them.
var steps = []struct {
	on    feature
	apply func(string) string
}{
	{escape, decodeAll},
	{escape, Decode},
	{params, cutParams},
	{params, cutLastParams},
	{params, cutAll},
	{ended, cutQuery},
	{slashes, collapse},
	{backslash, func(p string) string { return strings.ReplaceAll(p, `\`, "/") }},
	{foreign, toASCII},
	{padded, trim},
	{session, cutSessions},
	{stream, cutStreams},
	{spaced, plus},
	{trailing, func(p string) string { return p[:len(p)-1] }},
}

// Read appends the readings of a path to dst, and returns it. The first reading is the path itself. With an array of Max strings
// behind dst only readings that differ from the path allocate.
//
// Errors: ErrDotSegment and ErrNUL if any reading has such a thing, ErrTooMany if there are more readings than Max or if they have
// more than 16 KiB together.
func Read(dst []string, path string) ([]string, error) {
	first := len(dst)
	dst = append(dst, path)
	size := len(path)
	for i := first; i < len(dst); i++ {
		reading := dst[i]
		f := scan(reading)
		switch {
		case f == 0:
			continue
		case f&nul != 0:
			return nil, ErrNUL
		case f&dotSegment != 0:
			return nil, ErrDotSegment
		}
		for _, s := range steps {
			if f&s.on == 0 {
				continue
			}
			next := s.apply(reading)
			if slices.Contains(dst[first:], next) {
				continue
			}
			if size += len(next); len(dst)-first == Max || size > maxBytes {
				return nil, ErrTooMany
			}
			dst = append(dst, next)
		}
	}
	return dst, nil
}
