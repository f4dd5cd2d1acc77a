package wire

import "bytes"

// resolve finds the path and the query in the target, in whichever of the three forms that we take it came
// (RFC 9112 section 3.2): /path, http://host/path where that host is the Host, and * for OPTIONS.
func (r *Request) resolve() error {
	if !all(r.Target, target) {
		return malformed("the target has a character that must be percent-encoded")
	}
	switch {
	case r.Target[0] == '/':
		r.Origin = r.Target
	case len(r.Target) == 1 && r.Target[0] == '*':
		if string(r.Method) != "OPTIONS" {
			return malformed("the target * is for OPTIONS only")
		}
		r.Origin, r.Path = r.Target, r.Target
		return nil
	default:
		if err := r.absolute(); err != nil {
			return err
		}
	}
	r.Path = r.Origin
	if i := bytes.IndexByte(r.Origin, '?'); i >= 0 {
		r.Path, r.Query = r.Origin[:i], r.Origin[i+1:]
	}
	return CheckPath(r.Path)
}

// absolute takes scheme://authority/path. The authority must be the Host, byte for byte but for case: a server that
// looks at the one and a server that looks at the other shall see the same.
func (r *Request) absolute() error {
	var rest []byte
	switch {
	case len(r.Target) > 7 && EqualFold(r.Target[:7], "http://"):
		rest = r.Target[7:]
	case len(r.Target) > 8 && EqualFold(r.Target[:8], "https://"):
		rest = r.Target[8:]
	default:
		return malformed("the target must start with a slash")
	}
	slash := bytes.IndexByte(rest, '/')
	if slash < 0 {
		return malformed("the target has no path")
	}
	authority := rest[:slash]
	if r.Host == nil && ValidHost(authority) {
		r.Host = authority
	}
	if !bytes.EqualFold(authority, r.Host) {
		return malformed("the target names another host than Host")
	}
	r.Origin = rest[slash:]
	return nil
}

// CheckPath takes a path as it stands in a target, with a slash at its start. It refuses what servers read in different
// ways: a second slash at the start (another host, to a browser), escapes that are none, NUL, backslashes, and dot
// segments, however often and however oddly they are encoded.
func CheckPath(p []byte) error {
	if len(p) > 1 && p[1] == '/' {
		return malformed("the path must not start with two slashes")
	}
	var seg segment
	for i := 1; i < len(p); {
		c, n := p[i], 1
		if c == '%' {
			var err error
			if c, n, err = unescape(p[i:]); err != nil {
				return err
			}
		}
		if !seg.add(c) {
			return malformed("the path must not have dot segments")
		}
		i += n
	}
	if !seg.add('/') {
		return malformed("the path must not have dot segments")
	}
	return nil
}

// segment watches a path segment go by.
type segment struct {
	dots  int  // its length, while it is nothing but dots
	other bool // it has something else
}

// add takes the segment's next byte and reports false where it ends as a dot segment. A semicolon ends it, too: there
// are servers to which "..;x" is "..".
func (s *segment) add(c byte) bool {
	switch c {
	case '.':
		s.dots++
	case '/', ';':
		if !s.other && (s.dots == 1 || s.dots == 2) {
			return false
		}
		s.dots, s.other = 0, c == ';'
	default:
		s.other = true
	}
	return true
}

// unescape decodes the escape at the start of p, and gives the byte and the length of the escape. An escaped percent
// sign that starts another escape is decoded further, since some servers decode twice.
func unescape(p []byte) (c byte, n int, err error) {
	c, ok := escape(p)
	if !ok {
		return 0, 0, malformed("the path has a percent sign that starts no escape")
	}
	n = 3
	for c == '%' {
		next, ok := hexPair(p[n:])
		if !ok {
			break
		}
		c, n = next, n+2
	}
	switch c {
	case 0:
		return 0, 0, malformed("the path has an encoded NUL")
	case '\\':
		return 0, 0, malformed("the path has an encoded backslash")
	case 0xc0, 0xc1: // never valid in UTF-8: the start of an overlong dot, slash or backslash
		if next, ok := escape(p[n:]); ok && next&0xc0 == 0x80 {
			return 0, 0, malformed("the path has an overlong encoding")
		}
	}
	return c, n, nil
}

// escape reads %XX.
func escape(p []byte) (byte, bool) {
	if len(p) == 0 || p[0] != '%' {
		return 0, false
	}
	return hexPair(p[1:])
}

// hexPair reads two hexadecimal digits.
func hexPair(p []byte) (byte, bool) {
	if len(p) < 2 {
		return 0, false
	}
	hi, lo := unhex(p[0]), unhex(p[1])
	if hi < 0 || lo < 0 {
		return 0, false
	}
	return byte(hi<<4 | lo), true //nolint:gosec // two hexadecimal digits are a byte
}
