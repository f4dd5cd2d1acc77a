// Package errs holds the one error type that crosses a service's edges.
//
// An [Error] has a kind, which decides the HTTP and gRPC status, a code that programs compare, a message that is safe
// to show to the caller, and a cause that is not. Domain code makes errors with the constructors of this package;
// handlers pass them on; only the edge (package pkg/rpc/server, the gateway) turns them into bytes.
//
// Errors of any other type are our own fault: they become [Internal] with a message that tells nothing.
package errs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error. Kinds are only ever appended: their numbers may be stored.
type Kind uint8

// The kinds, with the HTTP status that each becomes.
const (
	Internal         Kind = iota // 500: our own fault
	Invalid                      // 400: malformed or invalid input
	Unauthenticated              // 401: not signed in, or bad credentials
	Forbidden                    // 403: signed in, but not allowed
	NotFound                     // 404: unknown
	Conflict                     // 409: taken, or in conflict with the present state
	TooLarge                     // 413: larger than a limit
	TooMany                      // 429: over a rate limit; carries RetryAfter
	Unavailable                  // 503: a part that the answer needs is away for now
	Timeout                      // 504: the deadline passed
	MethodNotAllowed             // 405
	Unsupported                  // 415: content type
)

// kinds gives for each Kind its HTTP status and the code that an error has where it names none.
var kinds = [...]struct {
	status int
	code   string
}{
	Internal:         {500, "INTERNAL"},
	Invalid:          {400, "VALIDATION_ERROR"},
	Unauthenticated:  {401, "UNAUTHENTICATED"},
	Forbidden:        {403, "FORBIDDEN"},
	NotFound:         {404, "NOT_FOUND"},
	Conflict:         {409, "CONFLICT"},
	TooLarge:         {413, "TOO_LARGE"},
	TooMany:          {429, "TOO_MANY_REQUESTS"},
	Unavailable:      {503, "UNAVAILABLE"},
	Timeout:          {504, "TIMEOUT"},
	MethodNotAllowed: {405, "METHOD_NOT_ALLOWED"},
	Unsupported:      {415, "UNSUPPORTED_MEDIA_TYPE"},
}

// Status is the HTTP status of the kind.
func (k Kind) Status() int {
	if int(k) >= len(kinds) {
		return 500
	}
	return kinds[k].status
}

// Code is the default code of the kind, in SCREAMING_SNAKE.
func (k Kind) Code() string {
	if int(k) >= len(kinds) {
		return kinds[Internal].code
	}
	return kinds[k].code
}

// KindOf gives the kind that an HTTP status stands for: the exact one, else Invalid for the other 4xx and Internal.
func KindOf(status int) Kind {
	for k, v := range kinds {
		if v.status == status {
			return Kind(k)
		}
	}
	switch {
	case status >= 400 && status < 500:
		return Invalid
	case status == 502:
		return Unavailable
	}
	return Internal
}

// Detail tells what is wrong with one field of the input.
type Detail struct {
	Field   string `json:"field"`   // the field's JSON path, such as "contact.handle"
	Rule    string `json:"rule"`    // the rule that it breaks, such as "required"
	Message string `json:"message"` // what would be right, for a person
}

// Error is an error that may be shown to the caller.
type Error struct {
	Kind       Kind
	Code       string        // SCREAMING_SNAKE; never empty when made by New
	Message    string        // one line that a person understands; never an internal address, SQL or a stack
	Details    []Detail      // for Invalid
	RetryAfter time.Duration // for TooMany and Unavailable; 0 is none

	status int // HTTP status; 0 is the kind's
	cause  error
}

// New makes an error of a kind. An empty code becomes the kind's own.
func New(kind Kind, code, format string, args ...any) *Error {
	if code == "" {
		code = kind.Code()
	}
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error gives the message, followed by the cause where there is one: it is for logs. Callers see Message alone.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Status is the HTTP status of the error: the kind's, unless [Error.WithStatus] set another.
func (e *Error) Status() int {
	if e.status != 0 {
		return e.status
	}
	return e.Kind.Status()
}

// WithStatus returns a copy of the error with an HTTP status that no kind has, such as 410 or 502.
func (e *Error) WithStatus(status int) *Error {
	c := *e
	c.status = status
	return &c
}

// Unwrap gives the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.cause }

// Because gives a copy of the error with a cause that is logged and never shown.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// With gives a copy of the error with more details.
func (e *Error) With(details ...Detail) *Error {
	c := *e
	c.Details = append(append([]Detail(nil), e.Details...), details...)
	return &c
}

// After gives a copy of the error that tells the caller when to try again.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Field is an Invalid error about one field: "<field> <message>".
func Field(field, rule, format string, args ...any) *Error {
	msg := fmt.Sprintf(format, args...)
	return New(Invalid, "", "%s %s", field, msg).With(Detail{Field: field, Rule: rule, Message: msg})
}

// Invalidf is an Invalid error with the default code.
func Invalidf(format string, args ...any) *Error { return New(Invalid, "", format, args...) }

// Forbiddenf is a Forbidden error with the default code.
func Forbiddenf(format string, args ...any) *Error { return New(Forbidden, "", format, args...) }

// NotFoundf is a NotFound error with the default code.
func NotFoundf(format string, args ...any) *Error { return New(NotFound, "", format, args...) }

// Conflictf is a Conflict error with the default code.
func Conflictf(format string, args ...any) *Error { return New(Conflict, "", format, args...) }

// From finds the *Error in err's chain. What has none becomes Timeout for a passed deadline and for a caller who has gone,
// and Internal otherwise, with err as the cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(Timeout, "", "the request took too long").Because(err)
	}
	if errors.Is(err, context.Canceled) { // the caller has gone, so it is nobody's fault
		return New(Timeout, "CANCELED", "the request was cancelled").Because(err)
	}
	return New(Internal, "", "something went wrong on our side").Because(err)
}

// Is tells whether err is of a kind, as From sees it.
func Is(err error, kind Kind) bool {
	return err != nil && From(err).Kind == kind
}
