package wire

import "net/http"

// Response is the head of a response.
type Response struct {
	Message

	Status int
	Reason []byte
}

// Parse reads a whole head, its empty line included, of the answer to a request with that method: HEAD has no body,
// whatever the fields say. The response is the same as if it were new, but uses its memory again.
// All errors are an [*Error].
func (r *Response) Parse(head []byte, method []byte, limits Limits) error {
	fields, named := r.Fields[:0], r.Named[:0]
	*r = Response{Message: Message{Fields: fields, Named: named}}
	line, section, err := cutLine(head)
	if err != nil {
		return err
	}
	if err := r.statusLine(line); err != nil {
		return err
	}
	if r.Fields, err = appendFields(fields, section, limits.Fields); err != nil {
		return err
	}
	if err := r.frame(); err != nil {
		return err
	}
	r.body(string(method) == http.MethodHead)
	return nil
}

// Bodiless reports whether answers with the status never have a body (RFC 9110 section 6.4.1).
func Bodiless(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

// statusLine reads HTTP/1.x SP 3DIGIT [SP reason].
func (r *Response) statusLine(line []byte) error {
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return malformed("the answer does not start with HTTP/1.1")
	}
	r.Minor = int(line[7] - '0')
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return malformed("the status is not a number")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return malformed("the status is out of range")
	}
	if len(line) > 12 {
		if line[12] != ' ' || !IsValue(line[13:]) {
			return malformed("the reason phrase is malformed")
		}
		r.Reason = line[13:]
	}
	return nil
}

// body finds how the body ends (RFC 9112 section 6.3).
func (r *Response) body(head bool) {
	switch {
	case head || Bodiless(r.Status):
		// What the fields say is about a body that isn't sent; HasLength still tells that there is something to say.
		r.Length = 0
	case r.Length == 0 && !r.HasLength:
		r.Length, r.Close = UntilClose, true
	}
}
