package routes

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind of an upstream.
type Kind uint8

// The kinds of upstreams.
const (
	URL  Kind = iota // an HTTP server; requests are forwarded as they came
	Slug             // one of a slug's instances
	RPC              // a method of a service
)

// Upstream is what answers a route's requests.
type Upstream struct {
	Kind     Kind
	URL      string // of URL: http or https, perhaps with a path that is put in front
	Service  string // of Slug and RPC
	Endpoint string // of RPC: "UserService.Read"
}

// Owner is the slug whose account hands out the scopes of the upstream's routes.
func (u Upstream) Owner() string { return cmp.Or(u.Service, gatewaySlug) }

// Route is one of a table.
type Route struct {
	Path         string
	Method       string // "" is any
	Upstream     Upstream
	AuthRequired bool
	Permissions  []string // all of which a caller must have
	CacheTTL     time.Duration
	Line         int // of the file

	pattern pattern
}

// Params are the names of the path's parameters, in their order.
func (r *Route) Params() []string { return r.pattern.params() }

// Table is what a file says. It doesn't change.
type Table struct {
	routes []*Route // the most exact first
	public []pattern
}

// Routes gives all, the most exact first.
func (t *Table) Routes() []*Route { return t.routes }

// Match finds the route of a request: its path is as it was sent. Where routes fit the path but not the method it gives the methods
// that would. HEAD is led where GET is.
func (t *Table) Match(method, path string) (r *Route, params, allowed []string) {
	for _, r := range t.routes {
		values, ok := r.pattern.match(path)
		if !ok || r.pattern.wide() && isOwn(path) {
			continue
		}
		if r.Method == "" || r.Method == method || r.Method == http.MethodGet && method == http.MethodHead {
			return r, values, nil
		}
		if !slices.Contains(allowed, r.Method) {
			allowed = append(allowed, r.Method)
		}
	}
	slices.Sort(allowed)
	return nil, nil, allowed
}

// Public tells whether a path needs no sign-in, whatever its route says.
func (t *Table) Public(path string) bool {
	return slices.ContainsFunc(t.public, func(p pattern) bool {
		_, ok := p.match(path)
		return ok
	})
}

// pattern is a path with parameters, by segments.
type pattern []segment

// segment is a literal, a parameter, or the rest of a path.
type segment struct {
	literal string
	param   string
	rest    bool
}

// wide tells whether the pattern fits paths with any first segment.
func (p pattern) wide() bool { return len(p) > 0 && p[0].literal == "" }

// isOwn tells whether a path is one of the mesh's own.
func isOwn(path string) bool {
	first, _, _ := strings.Cut(path[1:], "/")
	return slices.ContainsFunc(own, func(s string) bool { return same(first, s) })
}

func (p pattern) params() (names []string) {
	for _, s := range p {
		if s.param != "" {
			names = append(names, s.param)
		}
	}
	return names
}

// match compares a path as it was sent, and gives the parameters' values, still encoded.
func (p pattern) match(path string) (params []string, ok bool) {
	rest := strings.TrimSuffix(path, "/")
	for _, s := range p {
		if s.rest {
			return params, true
		}
		if rest == "" || rest[0] != '/' {
			return nil, false
		}
		value := rest[1:]
		if i := strings.IndexByte(value, '/'); i >= 0 {
			value = value[:i]
		}
		rest = rest[1+len(value):]
		switch {
		case s.param == "":
			if !same(value, s.literal) {
				return nil, false
			}
		case value == "":
			return nil, false
		default:
			params = append(params, value)
		}
	}
	return params, rest == ""
}

// same compares a segment as it was sent with a literal: whoever answers may decode it, or not care about case.
func same(sent, literal string) bool {
	i, j := 0, 0
	for ; i < len(sent) && j < len(literal); j++ {
		c := sent[i]
		i++
		if c == '%' && i+1 < len(sent) {
			if hi, lo := unhex(sent[i]), unhex(sent[i+1]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if lower(c) != lower(literal[j]) {
			return false
		}
	}
	return i == len(sent) && j == len(literal)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// unhex gives the value of a hexadecimal digit, and 16 for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case lower(c) >= 'a' && lower(c) <= 'f':
		return lower(c) - 'a' + 10
	}
	return 16
}

// shape is the pattern with all parameters alike: two routes of one shape take the same requests. It sorts literals before
// parameters, and those before the rest.
func (p pattern) shape() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.rest:
			b.WriteString("/\xff")
		case s.param != "":
			b.WriteString("/\xfe")
		default:
			b.WriteString("/" + strings.ToLower(s.literal))
		}
	}
	return b.String()
}
