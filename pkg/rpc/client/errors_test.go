package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	merrors "go-micro.dev/v5/errors"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

// shown is what a caller sees of an error.
type shown struct {
	Kind    errs.Kind
	Code    string
	Message string
	Details []errs.Detail
	After   time.Duration
}

func TestErrors(t *testing.T) {
	ours := errs.Field("name", "required", "is required").After(3 * time.Second)
	withDetails := func(code codes.Code, message string, details ...*anypb.Any) error {
		p := status.New(code, message).Proto()
		p.Details = details
		return status.ErrorProto(p)
	}
	pack := func(m *merrors.Error) *anypb.Any {
		a, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	help, err := anypb.New(&errdetails.ErrorInfo{Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	teapot := &merrors.Error{Id: "x", Code: 409, Detail: "taken"}
	for name, c := range map[string]struct {
		trailer string
		err     error
		want    shown
	}{
		"our trailer":                 {string(ours.Encode()), status.Error(codes.Unknown, "x"), shown{errs.Invalid, "VALIDATION_ERROR", "name is required", ours.Details, 3 * time.Second}},
		"a trailer that is nonsense":  {"{", status.Error(codes.NotFound, "no pet"), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"a trailer with a status 200": {`{"code":"X","status":200}`, status.Error(codes.NotFound, "no pet"), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"go-micro's error":            {"", withDetails(codes.Unknown, "x", pack(teapot)), shown{Kind: errs.Conflict, Code: "CONFLICT", Message: "taken"}},
		"go-micro's, second":          {"", withDetails(codes.Unknown, "x", help, pack(teapot)), shown{Kind: errs.Conflict, Code: "CONFLICT", Message: "taken"}},
		"go-micro's as text":          {"", status.Error(codes.Unknown, teapot.Error()), shown{Kind: errs.Conflict, Code: "CONFLICT", Message: "taken"}},
		"go-micro's time-out":         {"", withDetails(codes.DeadlineExceeded, "x", pack(&merrors.Error{Code: 408})), shown{Kind: errs.Timeout, Code: "TIMEOUT", Message: "the service took too long to answer"}},
		"a detail that is no error":   {"", withDetails(codes.NotFound, "no pet", help), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"a detail of unknown type":    {"", withDetails(codes.NotFound, "no pet", &anypb.Any{TypeUrl: "x/y.Z", Value: []byte{1}}), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"a detail that is broken":     {"", withDetails(codes.NotFound, "no pet", &anypb.Any{TypeUrl: pack(teapot).GetTypeUrl(), Value: []byte{255}}), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"an error with a code of 7":   {"", withDetails(codes.NotFound, "no pet", pack(&merrors.Error{Code: 7})), shown{Kind: errs.NotFound, Code: "NOT_FOUND", Message: "no pet"}},
		"a plain error":               {"", errors.New("dial 10.0.0.1: secret"), shown{Kind: errs.Internal, Code: "INTERNAL", Message: "something went wrong on our side"}},
		"unavailable":                 {"", status.Error(codes.Unavailable, "10.0.0.1 is down"), shown{Kind: errs.Unavailable, Code: "UNAVAILABLE", Message: "echo can't be reached"}},
		"too many":                    {"", status.Error(codes.ResourceExhausted, "slow down"), shown{Kind: errs.TooMany, Code: "TOO_MANY_REQUESTS", Message: "slow down"}},
		"precondition":                {"", status.Error(codes.FailedPrecondition, "not now"), shown{Kind: errs.Conflict, Code: "CONFLICT", Message: "not now"}},
		"permission":                  {"", status.Error(codes.PermissionDenied, "no"), shown{Kind: errs.Forbidden, Code: "FORBIDDEN", Message: "no"}},
		"unauthenticated":             {"", status.Error(codes.Unauthenticated, ""), shown{Kind: errs.Unauthenticated, Code: "UNAUTHENTICATED", Message: "unauthorized"}},
		"a message without end":       {"", status.Error(codes.InvalidArgument, strings.Repeat("é", 4000)), shown{Kind: errs.Invalid, Code: "VALIDATION_ERROR", Message: strings.Repeat("é", 512)}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			echo := &Echo{fail: func(context.Context) error { return errors.New("never sent") }}
			// What a handler returns is not always what go-micro sends: put the status on the wire itself.
			m.serve("echo", "1", echo, grpc.StreamInterceptor(func(_ any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
				if c.trailer != "" {
					ss.SetTrailer(metadata.Pairs(errs.Trailer, c.trailer))
				}
				return c.err
			}))
			_, err := say(t.Context(), m.client(client.Config{}), "echo", nil)
			var e *errs.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T: %v", err, err)
			}
			if diff := cmp.Diff(c.want, shown{e.Kind, e.Code, e.Message, e.Details, e.RetryAfter}); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
			var micro *merrors.Error
			if !errors.As(err, &micro) || int(micro.Code) != c.want.Kind.Status() {
				t.Errorf("as go-micro's error it is %v", micro)
			}
		})
	}
}

func TestErrorsOfGoMicroHandlers(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want shown
	}{
		"a go-micro error": {merrors.Forbidden("pets", "not yours"), shown{Kind: errs.Forbidden, Code: "FORBIDDEN", Message: "not yours"}},
		"an internal one":  {merrors.InternalServerError("pets", "SELECT * FROM secrets"), shown{Kind: errs.Internal, Code: "INTERNAL", Message: "something went wrong on our side"}},
		"any other":        {errors.New("SELECT * FROM secrets"), shown{Kind: errs.Internal, Code: "INTERNAL", Message: "something went wrong on our side"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			m.serve("echo", "1", &Echo{fail: func(context.Context) error { return c.err }})
			_, err := say(t.Context(), m.client(client.Config{}), "echo", nil)
			e := errs.From(err)
			if diff := cmp.Diff(c.want, shown{e.Kind, e.Code, e.Message, e.Details, e.RetryAfter}); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
		})
	}
}
