package http1

import (
	"strings"

	"micromesh/gateway/http1/wire"
)

// HeaderFilter holds the names of a client's header fields that are not for upstream servers. Names match in any case, and with any
// punctuation for hyphens: servers that make variables of them (RFC 3875, section 4.1.18) don't tell X_User_ID and X.User.ID from X-User-ID.
type HeaderFilter struct {
	names    [][]string // by length
	prefixes []string
}

// NewHeaderFilter makes a filter of names, of which those that end in "*" stand for all that start so.
func NewHeaderFilter(names ...string) *HeaderFilter {
	f := &HeaderFilter{}
	for _, name := range names {
		name = strings.ToLower(name)
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			f.prefixes = append(f.prefixes, prefix)
			continue
		}
		for len(f.names) <= len(name) {
			f.names = append(f.names, nil)
		}
		f.names[len(name)] = append(f.names[len(name)], name)
	}
	return f
}

// DefaultHeaderFilter filters what only the gateway itself may say to an upstream server: who the caller is, where the
// request came from, and the mesh's own metadata; and what some frameworks take for the path in place of the real one. It also takes the fields that frame a message, for the sake of those
// that are spelled with underscores.
func DefaultHeaderFilter() *HeaderFilter {
	return NewHeaderFilter(
		"X-User-ID", "X-User-Slug", "X-Org-ID", "X-Roles", "X-Scopes", "X-Forwarded", "X-Forwarded-*", "Forwarded", "X-Real-IP",
		"Micro-*", "Mesh-Nonce",
		"X-Original-URL", "X-Original-URI", "X-Original-Path", "X-Original-Method", "X-Rewrite-*", "X-Envoy-Original-*",
		"Content-Length", "Transfer-Encoding", "Proxy-Connection", "Proxy-Authorization", "Keep-Alive", "HTTP2-Settings",
	)
}

// Drops reports whether a field with that name is filtered out.
func (f *HeaderFilter) Drops(name []byte) bool {
	if len(name) < len(f.names) {
		for _, n := range f.names[len(name)] {
			if sameSpelling(name, n) {
				return true
			}
		}
	}
	for _, p := range f.prefixes {
		if len(name) >= len(p) && sameSpelling(name[:len(p)], p) {
			return true
		}
	}
	return false
}

// sameSpelling compares two names of the same length without regard to case, and takes any punctuation in a for a hyphen.
func sameSpelling[S ~string | ~[]byte](a []byte, b S) bool {
	for i, c := range a {
		if isPunctuation(c) {
			c = '-'
		}
		if c != b[i] && wire.Lower(c) != wire.Lower(b[i]) {
			return false
		}
	}
	return true
}

// isPunctuation reports whether c, of the name of a field, is neither a letter nor a digit.
func isPunctuation(c byte) bool {
	return c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z'
}

// forbiddenTrailer reports whether a field means something to who handles a message before its body has ended, so that it
// must not come after that (RFC 9110 section 6.5.1).
func forbiddenTrailer(f *wire.Field) bool {
	if f.ID != wire.Other {
		return true
	}
	for _, n := range [...]string{
		"authorization", "cookie", "set-cookie", "cache-control", "content-encoding", "content-type", "content-range",
		"max-forwards", "range", "te", "www-authenticate", "location", "vary", "age", "expires", "retry-after", "pragma",
		"x-request-id", "traceparent", "tracestate",
	} {
		if len(n) == len(f.Name) && sameSpelling(f.Name, n) {
			return true
		}
	}
	return false
}
