package wire

// class is a set of the character classes that a byte belongs to.
type class uint8

const (
	token    class = 1 << iota // tchar, RFC 9110 section 5.6.2
	value                      // field-value: visible, obs-text, space and tab
	target                     // what a request target may hold: visible ASCII without # and \
	regName                    // what we allow of a host's name
	chunkExt                   // what we allow in a chunk extension
)

// classes gives the classes of each byte.
var classes = func() (t [256]class) {
	for c := range t {
		b := byte(c)
		alnum := '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
		if alnum {
			t[c] |= token | regName
		}
		if b == '\t' || b >= 0x20 && b != 0x7f {
			t[c] |= value
		}
		if b == '\t' || b >= 0x20 && b < 0x7f {
			t[c] |= chunkExt
		}
		if b > 0x20 && b < 0x7f && b != '#' && b != '\\' {
			t[c] |= target
		}
	}
	for _, b := range []byte("!#$%&'*+-.^_`|~") {
		t[b] |= token
	}
	for _, b := range []byte("-._") {
		t[b] |= regName
	}
	return t
}()

// all reports whether every byte of b is in class c.
func all(b []byte, c class) bool {
	for _, x := range b {
		if classes[x]&c == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether b is a token: a method, a field's name, a protocol.
func IsToken(b []byte) bool { return len(b) > 0 && all(b, token) }

// IsValue reports whether b may be a field's value: no control byte but the tab.
func IsValue(b []byte) bool { return all(b, value) }

// EqualFold compares b, in whatever case, with lower, which is ASCII in lower case.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if Lower(c) != lower[i] {
			return false
		}
	}
	return true
}

// Lower is c in lower case, if it is an ASCII letter.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// trim cuts optional white space (spaces and tabs) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
