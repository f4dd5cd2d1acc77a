package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	merrors "go-micro.dev/v5/errors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"micromesh/pkg/errs"
)

// maxText bounds what is repeated of another service's error, in bytes.
const maxText = 1024

// fromStatus gives the error that a service or grpc-go answered with. In order: the wire form that our servers put into
// the trailer; go-micro's error among the status's details, or as JSON in its message; the status's code. What a
// service says of its own faults stays in the cause: only errors that are the caller's are repeated to the caller.
func fromStatus(service string, err error, trailer metadata.MD) error {
	if e, ok := err.(*errs.Error); ok { //nolint:errorlint // ours alone, not one that is wrapped deeper
		return e
	}
	s := status.Convert(err)
	for _, v := range trailer.Get(errs.Trailer) {
		if e, ok := errs.Decode([]byte(v)); ok {
			return withOrigin(e, service, err)
		}
	}
	if m := microError(s); m != nil {
		return withOrigin(fromMicro(m), service, err)
	}
	return withOrigin(fromCode(service, s), service, err)
}

// microError finds go-micro's error in a status, or nil. Details of other types, unknown ones too, are skipped.
func microError(s *status.Status) *merrors.Error {
	for _, d := range s.Details() {
		if m, ok := d.(*merrors.Error); ok && isError(m) {
			return m
		}
	}
	if m := merrors.Parse(s.Message()); isError(m) {
		return m
	}
	return nil
}

func isError(m *merrors.Error) bool { return m != nil && m.Code >= 400 && m.Code <= 599 }

func fromMicro(m *merrors.Error) *errs.Error {
	status := int(m.Code)
	kind := errs.KindOf(status)
	switch status {
	case http.StatusRequestTimeout:
		return say(errs.Timeout, m.Detail)
	case http.StatusProxyAuthRequired, http.StatusMisdirectedRequest, http.StatusRequestHeaderFieldsTooLarge:
		return badAnswer("the service can't be asked in this way") // they are about the connection to it, which is not the caller's
	case http.StatusPreconditionFailed:
		kind = errs.Conflict
	case http.StatusNotImplemented:
		return errs.New(errs.Internal, codeOf(status), "the service does not do this").WithStatus(status)
	}
	e := say(kind, m.Detail)
	if status >= http.StatusInternalServerError || status == kind.Status() {
		return e
	}
	if m.Detail == "" {
		e.Message = strings.ToLower(http.StatusText(status))
	}
	e.Code = codeOf(status)
	return e.WithStatus(status)
}

// badAnswer is the error of a service that has answered, but not as it should.
func badAnswer(format string, args ...any) *errs.Error {
	return errs.New(errs.Unavailable, "BAD_ANSWER", format, args...).WithStatus(http.StatusBadGateway)
}

// lost is the error of a call whose connection broke when it may have been sent.
func lost(service string, err error) error {
	return withOrigin(errs.New(errs.Unavailable, "CONNECTION_LOST", "the connection to %s broke: the call may have run", service).WithStatus(http.StatusBadGateway), service, err)
}

// oversized tells an answer that is too large from a request of so many bytes that is. grpc-go reports both alike, with their size.
func oversized(service string, err error, request int) error {
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind == errs.TooLarge && e.Unwrap() != nil {
		cause := e.Unwrap().Error()
		if strings.Contains(cause, "message larger than max") && !strings.Contains(cause, fmt.Sprintf("(%d vs.", request)) {
			return withOrigin(badAnswer("the answer of %s is too large", service), service, e.Unwrap())
		}
	}
	return err
}

// codeOf is the code of an error with an HTTP status that no kind has: GONE of 410.
func codeOf(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return errs.KindOf(status).Code()
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return '_'
		case r >= 'A' && r <= 'Z':
			return r
		}
		return -1
	}, strings.ToUpper(text))
}

// fromCode maps a plain status by its code.
func fromCode(service string, s *status.Status) *errs.Error {
	switch s.Code() {
	case codes.InvalidArgument, codes.OutOfRange:
		return say(errs.Invalid, s.Message())
	case codes.Unauthenticated:
		return say(errs.Unauthenticated, s.Message())
	case codes.PermissionDenied:
		return say(errs.Forbidden, s.Message())
	case codes.NotFound:
		return say(errs.NotFound, s.Message())
	case codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted:
		return say(errs.Conflict, s.Message())
	case codes.Unimplemented:
		return errs.New(errs.NotFound, "", "%s has no such endpoint", service)
	case codes.ResourceExhausted:
		// grpc-go reports large messages in this way; others report rates.
		if strings.Contains(s.Message(), "larger than max") {
			return errs.New(errs.TooLarge, "", "a message is larger than %s takes", service)
		}
		return say(errs.TooMany, s.Message())
	case codes.Unavailable:
		if strings.Contains(s.Message(), "error reading from server") || strings.Contains(s.Message(), "transport is closing") {
			return errs.New(errs.Unavailable, "", "the connection to %s broke: the call may have run", service)
		}
		return errs.New(errs.Unavailable, "", "%s can't be reached", service)
	case codes.DeadlineExceeded:
		return errs.New(errs.Timeout, "", "%s took too long to answer", service)
	case codes.Canceled:
		return errs.New(errs.Timeout, "CANCELED", "the call was cancelled")
	default:
		return say(errs.Internal, "")
	}
}

// say repeats another service's text where it is about the caller's fault.
func say(kind errs.Kind, text string) *errs.Error {
	text = strings.ToValidUTF8(text, "")
	if kind == errs.Internal || kind == errs.Unavailable || kind == errs.Timeout || text == "" {
		return errs.New(kind, "", "%s", generic(kind))
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return errs.New(kind, "", "%s", text)
}

func generic(kind errs.Kind) string {
	switch kind {
	case errs.Internal:
		return "something went wrong on our side"
	case errs.Unavailable:
		return "the service is not available for now"
	case errs.Timeout:
		return "the service took too long to answer"
	default:
		return strings.ToLower(http.StatusText(kind.Status()))
	}
}

// withOrigin puts behind an error what it was made from, and go-micro's form of it.
func withOrigin(e *errs.Error, service string, err error) *errs.Error {
	code := e.Status()
	return e.Because(&origin{
		err:   err,
		micro: &merrors.Error{Id: service, Code: int32(code), Detail: e.Message, Status: http.StatusText(code)}, //nolint:gosec // an HTTP status
	})
}

// origin is the cause of an error that came through RPC.
type origin struct {
	err   error
	micro *merrors.Error
}

func (o *origin) Error() string { return o.err.Error() }

// Unwrap lets errors.As find the gRPC status and go-micro's error, and errors.Is a cancelled or expired context.
func (o *origin) Unwrap() []error {
	switch status.Code(o.err) {
	case codes.Canceled:
		return []error{o.err, o.micro, context.Canceled}
	case codes.DeadlineExceeded:
		return []error{o.err, o.micro, context.DeadlineExceeded}
	default:
		return []error{o.err, o.micro}
	}
}
