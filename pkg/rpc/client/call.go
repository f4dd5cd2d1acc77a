package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"go-micro.dev/v5/client"
	"go-micro.dev/v5/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
)

// attempts is to how many nodes a call is offered, if need be, that can't be reached or don't know the endpoint. Where
// failing is fast, it is offered to more of the former: a service that was killed a few times leaves as many nodes
// behind, until their leases end.
const attempts = 3

// firstSight is how long a call waits for the first sight of discovery.
const firstSight = time.Second

// target is where a call goes: to any node of a service, or to the first of some addresses.
type target struct {
	service   string
	addresses []string
}

// Call sends a request and decodes the answer into rsp. The deadline is the context's, a shorter one of
// client.WithRequestTimeout, or where there is neither the client's default. Errors: what the service answered;
// errs.Unavailable where the service has no node that can be reached, or the connection broke; errs.Timeout.
func (c *Client) Call(ctx context.Context, req client.Request, rsp any, opts ...client.CallOption) error {
	if req == nil || rsp == nil {
		return errs.New(errs.Internal, "", "a call needs a request and an answer")
	}
	codec, err := codecFor(req.ContentType())
	if err != nil {
		return err
	}
	o := callOptions(opts)
	ctx, cancel := c.withDeadline(outgoing(ctx), o.RequestTimeout)
	defer cancel()
	_, err = c.unary(ctx, target{req.Service(), o.Address}, path(req.Service(), req.Endpoint()), codec, req.Body(), rsp)
	return err
}

// Raw sends an encoded message and returns the encoded answer, with the trailer of the answer or the error. The subtype
// says how both are encoded: "json" or "proto". md is all the metadata that is sent: nothing is taken from ctx. The
// body is not held on to. Errors are those of Call. Guests are never called: see RawGuest.
func (c *Client) Raw(ctx context.Context, service, endpoint, subtype string, body []byte, md metadata.MD) ([]byte, metadata.MD, error) {
	if subtype != "json" && subtype != "proto" {
		return nil, nil, errs.New(errs.Unsupported, "", "encoding %q is none of json and proto", subtype)
	}
	ctx, cancel := c.withDeadline(explicit(ctx, md), 0)
	defer cancel()
	var answer []byte
	trailer, err := c.unary(ctx, target{service: service}, path(service, endpoint), grpc.ForceCodecV2(rawCodec(subtype)), &body, &answer)
	return answer, trailer, oversized(service, err, len(body))
}

// RawGuest is Raw in JSON for a service that may be a guest, written with plain go-micro: one that no schema of the mesh describes. A guest
// receives the message over plain HTTP from whoever has registered its name.
func (c *Client) RawGuest(ctx context.Context, service, endpoint string, body []byte, md metadata.MD) ([]byte, metadata.MD, error) {
	answer, trailer, err := c.Raw(ctx, service, endpoint, "json", body, md)
	if errors.Is(err, selector.ErrNotFound) || errors.Is(err, selector.ErrNoneAvailable) {
		ctx, cancel := c.withDeadline(explicit(ctx, md), 0)
		defer cancel()
		if other, absent, serr := c.stock.call(ctx, service, endpoint, body, md); !absent {
			return other, nil, serr
		}
	}
	return answer, trailer, err
}

func callOptions(opts []client.CallOption) client.CallOptions {
	var o client.CallOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

func (c *Client) withDeadline(ctx context.Context, asked time.Duration) (context.Context, context.CancelFunc) {
	if asked <= 0 {
		if _, ok := ctx.Deadline(); ok {
			return ctx, func() {}
		}
		c.mu.RLock()
		asked = c.defaults.CallOptions.RequestTimeout
		c.mu.RUnlock()
	}
	return context.WithTimeout(ctx, asked)
}

// report is what grpc-go tells of a call beside its answer. It is pooled with the options that fill it.
type report struct {
	trailer metadata.MD
	peer    peer.Peer
	options [3]grpc.CallOption // codec, trailer, peer
}

func newReport() any {
	r := new(report)
	r.options[1], r.options[2] = grpc.Trailer(&r.trailer), grpc.Peer(&r.peer)
	return r
}

// sent tells whether any part of the call may have reached the node: grpc-go names a peer once there is a stream.
func (r *report) sent() bool { return r.peer.Addr != nil }

// unary makes a call with one request and one answer.
func (c *Client) unary(ctx context.Context, to target, path string, codec grpc.CallOption, in, out any) (metadata.MD, error) {
	r := c.reports.Get().(*report)
	r.options[0] = codec
	err := c.offer(ctx, to, func(cc *grpc.ClientConn) (bool, error) {
		r.trailer, r.peer = nil, peer.Peer{}
		err := cc.Invoke(ctx, path, in, out, r.options[:]...)
		return r.sent(), err
	}, nil)
	trailer := r.trailer
	r.options[0], r.trailer, r.peer = nil, nil, peer.Peer{}
	c.reports.Put(r)
	if err != nil {
		return trailer, fromStatus(to.service, err, trailer)
	}
	return trailer, nil
}

// offer makes a call to one node after the other until one can be reached, and knows the endpoint: a node that died may
// have left its address to another service. try tells whether anything may have been sent. The call ends with try, or where ended is given by calling what it is given.
func (c *Client) offer(ctx context.Context, to target, try func(*grpc.ClientConn) (sent bool, err error), ended func(end func(error))) error {
	if len(to.addresses) > 0 {
		cc, err := c.connectTo(named{to.service, to.addresses[0]})
		if err == nil {
			_, err = try(cc)
		}
		return err
	}
	var tried []*discovery.Candidate
	var last error
	for began := time.Now(); ; {
		node, err := c.nodes.Pick(to.service, tried...)
		if err != nil && c.awaitNodes(ctx) {
			node, err = c.nodes.Pick(to.service, tried...)
		}
		if err != nil {
			return noNode(to.service, err, last)
		}
		started := time.Now()
		cc, err := c.connect(node)
		how := discovery.Unreachable
		if err == nil {
			var sent bool
			sent, err = try(cc)
			how = outcome(sent, err)
		}
		if err == nil && ended != nil {
			ended(func(err error) { node.End(time.Since(started), outcome(true, err)) })
			return nil
		}
		node.End(time.Since(started), how)
		tried, last = append(tried, node), err
		again := how == discovery.Unreachable && time.Since(began) < c.patience || len(tried) < attempts && (how == discovery.Unreachable || unknown(err))
		if !again || ctx.Err() != nil {
			return err
		}
	}
}

// unknown tells whether the node said that it has no such endpoint: no handler ran.
func unknown(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.Unimplemented && strings.HasPrefix(s.Message(), "unknown ")
}

// awaitNodes waits a moment for a directory that has not been seen yet, as in a process that has just begun, and tells whether it
// did and has been now.
func (c *Client) awaitNodes(ctx context.Context) bool {
	if c.seen.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, firstSight)
	defer cancel()
	if c.ready == nil || c.ready.Ready(ctx) != nil {
		return false
	}
	c.seen.Store(true)
	return true
}

// noNode is the error of a service that has no node, or none that was not tried: then the last attempt's error tells more.
func noNode(service string, err, last error) error {
	if last != nil {
		return last
	}
	if errors.Is(err, selector.ErrNotFound) || errors.Is(err, selector.ErrNoneAvailable) {
		return errs.New(errs.Unavailable, "", "%s is not running", service).Because(err)
	}
	return err
}

// outcome is what an attempt tells of its node.
func outcome(sent bool, err error) discovery.Outcome {
	switch status.Code(err) {
	case codes.Unavailable:
		if !sent {
			return discovery.Unreachable
		}
		return discovery.Failed
	case codes.DeadlineExceeded, codes.Canceled:
		return discovery.Failed
	case codes.OK:
		return discovery.Answered
	default:
		return discovery.Refused
	}
}
