package http1

import (
	"micromesh/gateway/http1/wire"
)

// HeaderList is an ordered list of header fields to be sent. Its zero value is empty and ready.
//
// It takes only what can't break a message: names that are tokens, values without control characters, and none of the
// fields that frame a message or belong to the connection (Content-Length, Transfer-Encoding, Connection and the like),
// which are the server's business.
type HeaderList struct {
	text   []byte
	fields []span
}

// span is where a field's name and value lie in a HeaderList's text.
type span struct{ name, colon, end int }

// Reset empties the list and keeps its memory.
func (h *HeaderList) Reset() { h.text, h.fields = h.text[:0], h.fields[:0] }

// Len is the number of fields.
func (h *HeaderList) Len() int { return len(h.fields) }

// At gives the i-th field, as slices that are valid until the list is changed.
func (h *HeaderList) At(i int) (name, value []byte) {
	s := h.fields[i]
	return h.text[s.name:s.colon], h.text[s.colon:s.end]
}

// Get gives the value of the first field with the name, in whatever case, or "".
func (h *HeaderList) Get(name string) string {
	for i := range h.fields {
		if n, v := h.At(i); sameName(n, name) {
			return string(v)
		}
	}
	return ""
}

// Set puts a field in place of all that have the name, in whatever case. It reports false, and changes nothing, where
// name or value can't be sent.
func (h *HeaderList) Set(name, value string) bool {
	if !sendable(name, value) {
		return false
	}
	h.Del(name)
	return h.Add(name, value)
}

// Add adds a field. It reports false, and changes nothing, where name or value can't be sent.
func (h *HeaderList) Add(name, value string) bool {
	if !sendable(name, value) {
		return false
	}
	start := len(h.text)
	h.text = append(append(h.text, name...), value...)
	h.fields = append(h.fields, span{start, start + len(name), len(h.text)})
	return true
}

// Del removes the fields with the name, in whatever case.
func (h *HeaderList) Del(name string) {
	kept := h.fields[:0]
	for i, s := range h.fields {
		if n, _ := h.At(i); !sameName(n, name) {
			kept = append(kept, s)
		}
	}
	h.fields = kept
}

// has reports whether there is a field with that name, in whatever case.
func (h *HeaderList) has(name []byte) bool {
	for i := range h.fields {
		if n, _ := h.At(i); sameName(n, name) {
			return true
		}
	}
	return false
}

// appendTo writes the fields as header lines.
func (h *HeaderList) appendTo(b []byte) []byte {
	for i := range h.fields {
		name, value := h.At(i)
		b = appendField(b, name, value)
	}
	return b
}

func appendField[N, V ~string | ~[]byte](b []byte, name N, value V) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// sameName compares two names without regard to case.
func sameName[S ~string | ~[]byte](a []byte, b S) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && wire.Lower(a[i]) != wire.Lower(b[i]) {
			return false
		}
	}
	return true
}

// sendable reports whether a HeaderList takes the field.
func sendable(name, value string) bool {
	if !wire.IsToken([]byte(name)) || !wire.IsValue([]byte(value)) {
		return false
	}
	switch wire.Identify([]byte(name)) {
	case wire.Connection, wire.ContentLength, wire.TransferEncoding, wire.Upgrade, wire.KeepAlive, wire.ProxyConnection,
		wire.TE, wire.Trailer, wire.Host:
		return false
	default:
		return true
	}
}
