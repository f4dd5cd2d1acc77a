package wire

import (
	"bytes"
	"net/http"
)

// maxMethod bounds a method's length. The longest that is registered, UPDATEREDIRECTREF, has 17 bytes.
const maxMethod = 32

// Request is the head of a request.
type Request struct {
	Message

	Method []byte
	// Target is the target as it was sent; Origin is its path and query, which is the same but for absolute targets.
	Target, Origin []byte
	// Path and Query are the parts of Origin around its first question mark, as they were sent.
	Path, Query []byte
	// Host is the Host field, or nil in HTTP/1.0.
	Host []byte
	// Continue says that the client waits for 100 (Continue) before it sends the body.
	Continue bool
}

// Parse reads a whole head, its empty line included. The request is the same as if it were new, but uses its memory
// again. All errors are an [*Error].
func (r *Request) Parse(head []byte, limits Limits) error {
	fields, named := r.Fields[:0], r.Named[:0]
	*r = Request{Message: Message{Fields: fields, Named: named}}
	line, section, err := cutLine(head)
	if err != nil {
		return err
	}
	if err := r.requestLine(line); err != nil {
		return err
	}
	if r.Fields, err = appendFields(fields, section, limits.Fields); err != nil {
		return err
	}
	if err := r.frame(); err != nil {
		return err
	}
	if err := r.fields(); err != nil {
		return err
	}
	return r.resolve()
}

// requestLine reads METHOD SP target SP HTTP/1.x, with exactly these two spaces.
func (r *Request) requestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	uri, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || len(uri) == 0 {
		return malformed("the request line is not: method, target, version")
	}
	if !IsToken(method) || len(method) > maxMethod {
		return malformed("the method is not a token")
	}
	switch string(version) {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
		r.Minor = 0
	default:
		return badVersion(version)
	}
	r.Method, r.Target = method, uri
	if EqualFold(method, "trace") || EqualFold(method, "connect") {
		return &Error{
			Status: http.StatusMethodNotAllowed, Code: CodeMethod, Reason: "TRACE and CONNECT are not served here",
		}
	}
	return nil
}

// badVersion tells a version that we don't speak from what is no version.
func badVersion(v []byte) error {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if len(v) == 8 && string(v[:5]) == "HTTP/" && digit(v[5]) && v[6] == '.' && digit(v[7]) {
		return &Error{
			Status: http.StatusHTTPVersionNotSupported, Code: CodeVersion, Reason: "only HTTP/1.0 and HTTP/1.1 are spoken here",
		}
	}
	return malformed("the request line does not end in HTTP/1.1")
}

// fields reads the fields that only requests have a rule for.
func (r *Request) fields() error {
	hosts, credentials := 0, 0
	for i := range r.Fields {
		f := &r.Fields[i]
		switch f.ID {
		case Host:
			hosts++
			r.Host = f.Value
		case Expect:
			if !EqualFold(f.Value, "100-continue") {
				return &Error{
					Status: http.StatusExpectationFailed, Code: CodeExpectation,
					Reason: "the only expectation that can be met is 100-continue",
				}
			}
			r.Continue = r.Minor > 0
		case Other:
			if len(f.Name) == len("authorization") && EqualFold(f.Name, "authorization") {
				credentials++
			}
		default:
		}
	}
	if hosts > 1 || hosts == 0 && r.Minor > 0 {
		return malformed("the request must have exactly one Host")
	}
	if credentials > 1 { // who looks at the first one and who looks at the last one would see different callers
		return malformed("the request has more than one Authorization")
	}
	if hosts == 1 && !ValidHost(r.Host) {
		return malformed("Host is not a host name with an optional port")
	}
	r.Continue = r.Continue && r.Length != 0
	return nil
}
