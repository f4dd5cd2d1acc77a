package errs

import (
	"encoding/json"
	"math"
	"time"
)

// Trailer is the gRPC trailer that carries an error's wire form beside go-micro's own error detail.
const Trailer = "mesh-error-bin"

// maxWire bounds what is decoded from another service: details beyond it are worth nothing to a person.
const maxWire = 64 << 10

// Wire is the JSON form of an error, as the HTTP API answers it and as services pass it among themselves.
type Wire struct {
	Error      string   `json:"error"`
	Code       string   `json:"code"`
	RequestID  string   `json:"requestId,omitempty"`
	Details    []Detail `json:"details,omitempty"`
	Status     int      `json:"status,omitempty"`     // between services only
	RetryAfter int      `json:"retryAfter,omitempty"` // seconds, rounded up
}

// Body is the HTTP body of an error: one shape for every answer of the mesh.
func Body(err error, requestID string) []byte {
	e := From(err)
	w := Wire{Error: e.Message, Code: e.Code, RequestID: requestID, Details: e.Details, RetryAfter: seconds(e.RetryAfter)}
	b, jerr := json.Marshal(w)
	if jerr != nil { // strings and integers always marshal
		return []byte(`{"error":"something went wrong on our side","code":"INTERNAL"}`)
	}
	return b
}

// Encode is the form that travels in [Trailer].
func (e *Error) Encode() []byte {
	w := Wire{Error: e.Message, Code: e.Code, Details: e.Details, Status: e.Status(), RetryAfter: seconds(e.RetryAfter)}
	b, err := json.Marshal(w)
	if err != nil { // strings and integers always marshal
		b = nil
	}
	return b
}

// Decode reads what Encode wrote. It tells false for anything else.
func Decode(b []byte) (*Error, bool) {
	if len(b) == 0 || len(b) > maxWire {
		return nil, false
	}
	var w Wire
	err := json.Unmarshal(b, &w)
	if ok := err == nil && w.Status >= 400 && w.Status <= 599 && w.Code != ""; !ok {
		return nil, false
	}
	e := New(KindOf(w.Status), w.Code, "%s", w.Error)
	if w.Status != e.Kind.Status() {
		e.status = w.Status
	}
	e.Details = w.Details
	e.RetryAfter = time.Duration(w.RetryAfter) * time.Second
	return e, true
}

// seconds rounds up, so that a caller that waits as told is never too early.
func seconds(d time.Duration) int {
	return int(math.Ceil(d.Seconds()))
}
