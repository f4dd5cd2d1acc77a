package wire

import (
	"bytes"
	"net/netip"
)

// ValidHost reports whether b is a host, or host:port, that can be compared and put into links without further care: a
// name of letters, digits, hyphens, underscores and single dots, an IPv4 address, or an IPv6 address in brackets.
func ValidHost(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || bytes.IndexByte(b[:end], '%') >= 0 {
			return false
		}
		addr, err := netip.ParseAddr(string(b[1:end]))
		return err == nil && addr.Is6() && validPort(b[end+1:])
	}
	name, port := b, []byte(nil)
	if i := bytes.IndexByte(b, ':'); i >= 0 {
		name, port = b[:i], b[i:]
	}
	return validName(name) && validPort(port)
}

// validName takes names of up to 253 bytes; one dot at the end is allowed, empty labels are not.
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > 253 || b[0] == '.' {
		return false
	}
	for i, c := range b {
		if classes[c]&regName == 0 || c == '.' && i > 0 && b[i-1] == '.' {
			return false
		}
	}
	return true
}

// validPort takes nothing, or a colon and a port.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}
