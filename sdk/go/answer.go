package sdk

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"micromesh/pkg/errs"
)

// WriteError answers with an error in the mesh's shape: {"error", "code", "requestId", "details"}. Errors that are no
// *errs.Error become a 500 that tells nothing; log them before.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := errs.From(err)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if e.Kind == errs.Unauthenticated {
		h.Set("WWW-Authenticate", `Bearer realm="micromesh"`)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(e.Status())
	_, _ = w.Write(errs.Body(e, r.Header.Get("X-Request-Id"))) //nolint:gosec // JSON; where it fails the client has gone
}

// WriteJSON answers with a value as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}

// ReadJSON reads a request's body as JSON into v, at most limit bytes of it. An empty body leaves v as it is.
//
// Errors: Invalid, which says where the JSON is wrong, and TooLarge.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	err := dec.Decode(v)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return errs.New(errs.Invalid, "INVALID_JSON", "the body holds more than one JSON value")
		}
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errs.New(errs.TooLarge, "", "the body is larger than %d bytes", limit)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		d := errs.Detail{Field: e.Field, Rule: "type", Message: "must not be a JSON " + e.Value}
		return errs.New(errs.Invalid, "INVALID_JSON", "%s %s", d.Field, d.Message).With(d)
	}
	return errs.New(errs.Invalid, "INVALID_JSON", "the body is not what it should be: %s", err)
}
