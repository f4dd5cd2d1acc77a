package server

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
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
		err := c.call(ctx, next, req, rsp)
		e := errs.From(err)
		c.metrics.observe(req.Endpoint(), e, time.Since(started))
		if e == nil {
			return nil
		}
		if e.Kind == errs.Internal {
			c.log.ErrorContext(ctx, "call_failed", "method", req.Endpoint(), "error", err, "request_id", requestID(ctx))
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
	md, _ := metadata.FromIncomingContext(ctx)
	token := ""
	if v := md.Get("authorization"); len(v) > 0 {
		token = auth.Bearer(v[0])
	}
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
	code := e.Kind.Status()
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

func requestID(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("x-request-id"), ",")
}
