package handler

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	merrors "go-micro.dev/v5/errors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/telemetry"
)

const (
	guestStreams = 250              // concurrent calls of a connection
	guestIdle    = 2 * time.Minute  // a connection without calls is kept; go-micro's client keeps it for one
	guestHello   = 10 * time.Second // until a connection has begun
	guestHeaders = 64 << 10         // bytes
)

// GRPC returns a server that answers the same calls on go-micro's gRPC client: /{service}.{Handler}/{Method}.
func (h *Guests) GRPC() *grpc.Server {
	return grpc.NewServer(
		grpc.UnknownServiceHandler(h.serveGRPC), grpc.ForceServerCodecV2(frames{}),
		grpc.MaxRecvMsgSize(int(h.Gateway.cfg.MaxMessage)), grpc.MaxConcurrentStreams(guestStreams), grpc.MaxHeaderListSize(guestHeaders),
		grpc.ConnectionTimeout(guestHello), grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: guestIdle}),
	)
}

// frames passes messages on as they are: *[]byte.
type frames struct{}

var _ encoding.CodecV2 = frames{}

func (frames) Name() string { return "frames" }

func (frames) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("encode %T: it is no frame", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

func (frames) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("decode %T: it is no frame", v)
	}
	*b = data.Materialize()
	return nil
}

// serveGRPC answers one call.
func (h *Guests) serveGRPC(_ any, stream grpc.ServerStream) error {
	began := time.Now()
	md, _ := metadata.FromIncomingContext(stream.Context())
	c := guestCall{subtype: subtypeOf(first(md, "content-type")), token: auth.Bearer(first(md, "authorization")), trace: first(md, telemetry.Header)}
	if !properTrace([]byte(c.trace)) {
		c.trace = ""
	}
	id := first(md, "x-request-id")
	if !properID(id) {
		id = h.Gateway.ids.prefix + strconv.FormatUint(h.Gateway.ids.next.Add(1), 36)
	}
	c.metadata = func(ctx context.Context) metadata.MD {
		out := metadata.MD{"x-request-id": {id}, telemetry.Header: {telemetry.Traceparent(ctx)}, "x-client-ip": {peerOf(ctx)}}
		if first(md, "mesh-api-version") == "2" {
			out["mesh-api-version"] = []string{"2"}
		}
		if c.token != "" {
			out["authorization"] = []string{"Bearer " + c.token}
		}
		return out
	}
	full, _ := grpc.MethodFromServerStream(stream)
	c.service, c.endpoint = guestMethod(full)
	answer, err := h.answerGRPC(stream, &c)
	code := http.StatusOK
	if err != nil {
		code = errs.From(err).Status()
		err = h.status(c.service, id, err)
	} else {
		err = stream.SendMsg(&answer)
	}
	h.Gateway.metrics.observe(routeRPC, code, time.Since(began))
	return err
}

func (h *Guests) answerGRPC(stream grpc.ServerStream, c *guestCall) ([]byte, error) {
	if c.service == "" {
		return nil, errs.New(errs.NotFound, "NO_METHOD", "call a method of a service, as /{service}.{Handler}/{Method}")
	}
	if c.subtype == "" {
		return nil, errUnencodable
	}
	if err := stream.RecvMsg(&c.body); err != nil {
		return nil, errs.Invalidf("the request has no message that can be read").Because(err)
	}
	return h.invoke(stream.Context(), c)
}

// status returns an error as go-micro's gRPC client reads it: its own error as JSON in a status's message.
func (h *Guests) status(service, id string, err error) error {
	e := errs.From(err)
	h.log(context.Background(), service, id, e, err)
	code := e.Status()
	m := merrors.Error{Id: service, Code: int32(code), Detail: e.Message, Status: http.StatusText(code)} //nolint:gosec // three digits
	return status.Error(codeOf(code), m.Error())
}

// codeOf returns the code of a status of HTTP, as go-micro's client reads it.
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusConflict:
		return codes.AlreadyExists
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	return codes.Internal
}

// guestMethod returns the service and the endpoint that a path of go-micro's gRPC client names; nothing if it names none.
func guestMethod(full string) (service, endpoint string) {
	name, method, ok := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot <= 0 {
		return "", ""
	}
	return name[:dot], name[dot+1:] + "." + method
}

// subtypeOf returns the encoding of a gRPC request's content type, or nothing. go-micro and gRPC mean proto if none is named.
func subtypeOf(contentType string) string {
	switch contentType {
	case "application/grpc", "application/grpc+proto":
		return "proto"
	case "application/grpc+json":
		return "json"
	}
	return ""
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// peerOf returns the IP address that a call comes from.
func peerOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return ""
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return ip.Unmap().String()
}
