package server

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/meshpb"
	"micromesh/pkg/telemetry"
)

// calls is what stands around every handler.
type calls struct {
	methods  methods
	verifier *auth.Verifier
	permits  auth.Permits
	log      *slog.Logger
	metrics  *metrics
}

// wrap checks the caller and the input, runs the handler, and makes its error fit for the wire.
func (c *calls) wrap(next server.HandlerFunc) server.HandlerFunc {
	return func(ctx context.Context, req server.Request, rsp any) error {
		started := time.Now()
		ctx, span := telemetry.Start(telemetry.Extract(ctx, first(ctx, telemetry.Header)), "rpc "+req.Endpoint())
		err := c.call(ctx, next, req, rsp)
		e := errs.From(err)
		telemetry.End(span, failure(e))
		c.metrics.observe(req.Endpoint(), e, time.Since(started))
		if e == nil {
			return nil
		}
		if e.Kind == errs.Internal {
			c.log.ErrorContext(ctx, "call_failed", "method", req.Endpoint(), "error", err, "request_id", first(ctx, "x-request-id"))
		}
		_ = grpc.SetTrailer(ctx, metadata.Pairs(errs.Trailer, string(e.Encode())))
		return microError(e)
	}
}

func (c *calls) call(ctx context.Context, next server.HandlerFunc, req server.Request, rsp any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.ErrorContext(ctx, "handler_panicked", "method", req.Endpoint(), "panic", p, "stack", string(debug.Stack()))
			err = errs.New(errs.Internal, "", "something went wrong on our side")
		}
	}()
	m := c.methods[req.Endpoint()]
	if m == nil {
		return errs.New(errs.NotFound, "", "there is no method %s", req.Endpoint())
	}
	ctx, err = c.identify(ctx, m)
	if err != nil {
		return err
	}
	if err := auth.Authorize(m.access, auth.FromContext(ctx), c.permits); err != nil {
		return err
	}
	if msg, ok := req.Body().(proto.Message); ok {
		if err := m.input.check(msg.ProtoReflect()); err != nil {
			return err
		}
	}
	return next(ctx, req, rsp)
}

// identify puts the verified caller into the context. Who calls comes from the token alone: other metadata that names
// a user says nothing. On a public method a token that is not valid counts as none.
func (c *calls) identify(ctx context.Context, m *method) (context.Context, error) {
	token := auth.Bearer(first(ctx, "authorization"))
	if token == "" {
		return ctx, nil
	}
	claims, err := c.verifier.Verify(token)
	if err != nil {
		if m.access.GetCaller() != meshpb.Caller_CALLER_PUBLIC {
			return nil, err
		}
		claims = nil
	}
	return auth.NewContext(ctx, claims, token), nil
}

// microError is the form that go-micro's clients understand; ours read the whole error from the trailer.
func microError(e *errs.Error) error {
	code := e.Status()
	return &merrors.Error{Id: e.Code, Code: int32(code), Detail: e.Message, Status: http.StatusText(code)} //nolint:gosec // an HTTP status
}

// toStatus is for errors that occur outside go-micro's own handling.
func toStatus(ss grpc.ServerStream, err error) error {
	e := errs.From(err)
	ss.SetTrailer(metadata.Pairs(errs.Trailer, string(e.Encode())))
	code := codes.InvalidArgument
	if e.Kind != errs.Invalid {
		code = codes.Internal
	}
	return status.Error(code, e.Message)
}

// first is the first value of a call's metadata under a name; empty where there is none.
func first(ctx context.Context, name string) string {
	if v := metadata.ValueFromIncomingContext(ctx, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// failure is what a span says of an error: callers' mistakes are no failures of the server.
func failure(e *errs.Error) string {
	if e == nil || e.Status() < http.StatusInternalServerError {
		return ""
	}
	return e.Code
}
