package client

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"go-micro.dev/v5/client"
	"go-micro.dev/v5/codec"
	"go-micro.dev/v5/codec/bytes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"micromesh/pkg/errs"
)

// Stream opens a stream to an endpoint. It lives until its end was received, Close, the end of ctx, or
// client.WithStreamTimeout; there is no default. Errors are those of Call; Recv and Send give them too, and io.EOF
// where the service has ended the stream.
func (c *Client) Stream(ctx context.Context, req client.Request, opts ...client.CallOption) (client.Stream, error) {
	if req == nil {
		return nil, errs.New(errs.Internal, "", "a stream needs a request")
	}
	codec, err := codecFor(req.ContentType())
	if err != nil {
		return nil, err
	}
	o := callOptions(opts)
	ctx, cancel := streamContext(outgoing(ctx), o)
	s := &stream{service: req.Service(), ctx: ctx, cancel: cancel, request: req, end: func(error) {}}
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	err = c.offer(ctx, target{req.Service(), o.Address}, func(cc *grpc.ClientConn) (bool, error) {
		var at peer.Peer
		var err error
		s.stream, err = cc.NewStream(ctx, desc, path(req.Service(), req.Endpoint()), codec, grpc.Peer(&at))
		return err == nil || at.Addr != nil, err
	}, func(end func(error)) { s.end = end })
	if err != nil {
		cancel()
		return nil, fromStatus(req.Service(), err, nil)
	}
	// A stream that is neither read to its end nor closed ends with its context.
	context.AfterFunc(ctx, func() { s.finish(ctx.Err()) })
	return s, nil
}

func streamContext(ctx context.Context, o client.CallOptions) (context.Context, context.CancelFunc) {
	if o.StreamTimeout > 0 {
		return context.WithTimeout(ctx, o.StreamTimeout)
	}
	return context.WithCancel(ctx)
}

// stream is a client.Stream. As with grpc-go, one goroutine may send while another receives.
type stream struct {
	service string
	ctx     context.Context
	cancel  context.CancelFunc
	request client.Request
	stream  grpc.ClientStream

	over sync.Once
	end  func(error) // tells the Selector that the call is over

	mu  sync.Mutex
	err error
}

var _ client.Stream = (*stream)(nil)

func (s *stream) Context() context.Context  { return s.ctx }
func (s *stream) Request() client.Request   { return s.request }
func (s *stream) Response() client.Response { return response{s} }

// Send encodes and sends a message.
func (s *stream) Send(msg any) error {
	err := s.stream.SendMsg(msg)
	if errors.Is(err, io.EOF) {
		return err // the stream has ended; Recv tells why
	}
	return s.fail(err)
}

// Recv receives and decodes a message.
func (s *stream) Recv(msg any) error {
	err := s.stream.RecvMsg(msg)
	if errors.Is(err, io.EOF) {
		s.finish(nil)
		return io.EOF
	}
	return s.fail(err)
}

// CloseSend tells the service that no more messages will be sent.
func (s *stream) CloseSend() error { return s.fail(s.stream.CloseSend()) }

// Close ends the stream.
func (s *stream) Close() error {
	s.finish(nil)
	return nil
}

// Error gives the error with which the stream broke.
func (s *stream) Error() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *stream) fail(err error) error {
	if err == nil {
		return nil
	}
	s.finish(err)
	mapped := fromStatus(s.service, err, s.stream.Trailer())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = mapped
	return mapped
}

func (s *stream) finish(err error) {
	s.over.Do(func() {
		s.end(err)
		s.cancel()
	})
}

// response is a stream's client.Response.
type response struct{ s *stream }

var _ client.Response = response{}

// Codec is nil: messages are decoded by Recv.
func (r response) Codec() codec.Reader { return nil }

// Header waits for the service's header; it is empty where the stream broke before.
func (r response) Header() map[string]string {
	h := map[string]string{}
	md, err := r.s.stream.Header()
	if err != nil {
		return h
	}
	for k, v := range md {
		h[k] = strings.Join(v, ",")
	}
	return h
}

// Read receives a message without decoding it.
func (r response) Read() ([]byte, error) {
	var f bytes.Frame
	if err := r.s.Recv(&f); err != nil {
		return nil, err
	}
	return f.Data, nil
}
