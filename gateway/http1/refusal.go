package http1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"micromesh/gateway/http1/wire"
)

// The codes of the server's own refusals, beside those of package wire.
const (
	CodeTimeout    = "REQUEST_TIMEOUT"
	CodeOverloaded = "OVERLOADED"
	CodeInternal   = "INTERNAL"
)

// ErrClientGone says that the client went away before its answer was complete.
var ErrClientGone = errors.New("the client is gone")

func bodyTooLarge(limit int64) error {
	return &wire.Error{
		Status: http.StatusRequestEntityTooLarge, Code: wire.CodeBodyTooLarge,
		Reason: fmt.Sprintf("the body is larger than %d bytes", limit),
	}
}

func bodyTooSlow() error {
	return &wire.Error{
		Status: http.StatusRequestTimeout, Code: CodeTimeout, Reason: "the body came too slowly",
	}
}

// isTooSlow reports whether an error is that of bodyTooSlow.
func isTooSlow(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Status == http.StatusRequestTimeout
}

func headerTooSlow() *wire.Error {
	return &wire.Error{
		Status: http.StatusRequestTimeout, Code: CodeTimeout, Reason: "the header came too slowly",
	}
}

// bodyConsumed is the handler's fault: a body that was read through Exchange.Body can't be forwarded.
func bodyConsumed() error {
	return &wire.Error{
		Status: http.StatusInternalServerError, Code: CodeInternal, Reason: "the body was read before it could be forwarded",
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// plainErrorBody is the ErrorBody of a Config that has none.
func plainErrorBody(_ *Exchange, _ int, code, message string) (string, []byte) {
	b, err := json.Marshal(struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}{message, code})
	if err != nil { // two strings always marshal
		return "text/plain", []byte(code)
	}
	return "application/json", append(b, '\n')
}
