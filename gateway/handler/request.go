package handler

import (
	"crypto/rand"
	"encoding/hex"
	mrand "math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"micromesh/gateway/http1"
)

const (
	jsonType        = "application/json"
	headerRequestID = "X-Request-Id"
	longestID       = 128
)

// requestIDs gives every request an id: the client's, where it sent a proper one, else one that no other process and
// no other request of this one has.
type requestIDs struct {
	prefix string
	next   atomic.Uint64
}

func newRequestIDs() *requestIDs {
	return &requestIDs{prefix: rand.Text()[:10] + "-"}
}

// assign puts the id into the answer, into the request that goes on, and where requestID finds it.
func (r *requestIDs) assign(x *http1.Exchange) {
	id := string(x.Get("x-request-id"))
	if !properID(id) {
		var buf [32]byte
		b := append(buf[:0], r.prefix...)
		id = string(strconv.AppendUint(b, r.next.Add(1), 36))
	}
	x.SetValue(id)
	x.Header().Set(headerRequestID, id)
}

// requestID is the id that assign gave; empty for a request that could not be read.
func requestID(x *http1.Exchange) string {
	id, _ := x.Value().(string)
	return id
}

// version2 reports whether the caller speaks version 2 of the API: answers have fields beyond the first version's contract, and requests
// have no unknown ones.
func version2(x *http1.Exchange) bool { return string(x.Get("mesh-api-version")) == "2" }

func properID(s string) bool {
	if s == "" || len(s) > longestID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// traceparent is the W3C trace context that goes on: the client's where it is valid, else the beginning of a new
// trace, not sampled.
func traceparent(x *http1.Exchange) string {
	if v := x.Get("traceparent"); properTrace(v) {
		return string(v)
	}
	var id [24]byte
	for i := 0; i < len(id); i += 8 {
		n := mrand.Uint64() | 1 // no part is all zero
		for j := range 8 {
			id[i+j] = byte(n >> (8 * j)) //nolint:gosec // the lowest byte is wanted
		}
	}
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:16])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[16:])
	return string(append(b, "-00"...))
}

// properTrace tells whether a traceparent has the form of version 00: 00-<32 hex>-<16 hex>-<2 hex>.
func properTrace(v []byte) bool {
	if len(v) != 55 || v[0] != '0' || v[1] != '0' {
		return false
	}
	for i, c := range v {
		switch {
		case i == 2 || i == 35 || i == 52:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// retryAfter is a Retry-After header in whole seconds, rounded up.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}
