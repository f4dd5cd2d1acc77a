package ident

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var errHost = errors.New("must be a host name, such as shop.example.com, or an address, with a port where that is not the usual one")

// Host returns the canonical form of a host name or address with an optional port, as in the header Host (RFC 9110, section 7.2): in lower
// case, without a dot at the end, in IDNA's ASCII form. An IPv6 address with a port stands in brackets.
func Host(s string) (string, error) {
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && (strings.IndexByte(s, ':') == i || strings.HasPrefix(s, "[")) && !strings.HasSuffix(s, "]") {
		name, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return "", errHost
		}
		port = ":" + port
	}
	bare, bracketed := strings.CutPrefix(name, "[")
	if bracketed {
		var closed bool
		if bare, closed = strings.CutSuffix(bare, "]"); !closed {
			return "", errHost
		}
	}
	if a, err := netip.ParseAddr(bare); err == nil {
		return hostAddr(a, bracketed, port)
	}
	if bracketed {
		return "", errHost
	}
	host, err := hostName(name)
	if err != nil {
		return "", err
	}
	return host + port, nil
}

// hostAddr returns an address as a host.
func hostAddr(a netip.Addr, bracketed bool, port string) (string, error) {
	if a.Zone() != "" || bracketed && !a.Is6() {
		return "", errHost
	}
	if a = a.Unmap(); a.Is4() {
		return a.String() + port, nil
	}
	return "[" + a.String() + "]" + port, nil
}

// names maps a name of any script to its one form in ASCII (UTS #46, non-transitional), and checks it as a name to look up.
var names = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.ValidateLabels(true), idna.CheckHyphens(true), idna.VerifyDNSLength(true),
	idna.StrictDomainName(false), idna.Transitional(false))

// hostName returns the canonical form of a DNS name. Underscores are allowed inside of labels: container networks have them.
func hostName(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if !isASCII(s) {
		var err error
		if s, err = names.ToASCII(s); err != nil {
			return "", errHost
		}
	}
	s = LowerASCII(s)
	if len(s) == 0 || len(s) > 253 {
		return "", errHost
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return "", errHost
		}
	}
	if isNumber(s[strings.LastIndexByte(s, '.')+1:]) {
		return "", errors.New("has a host that is neither a name nor an address in its usual spelling")
	}
	return s, nil
}

func isASCII(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0 }

// isLabel reports whether s is one part of a DNS name. A label of IDNA must be one that IDNA makes.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLowerOrDigit(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	if strings.HasPrefix(s, "xn--") {
		again, err := names.ToASCII(s)
		return err == nil && again == s
	}
	return true
}

// isNumber reports whether the last label is a number, so that the whole would be an address in a spelling that only some programs
// understand: 0x7f.1, 2130706433.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok && only(hex, "") {
		_, err := strconv.ParseUint("0"+hex, 16, 64)
		return err == nil
	}
	return strings.Trim(label, "0123456789") == ""
}
