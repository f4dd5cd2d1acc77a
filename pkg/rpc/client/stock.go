package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
)

const (
	// stockReuse is how many requests a connection to a stock service carries: its server keeps something of each until the
	// connection ends.
	stockReuse = 500
	// Connections without a request are kept for stockIdle: at most stockConns of a caller to each node, and stockTotal in all.
	stockIdle  = 30 * time.Second
	stockConns = 64
	stockTotal = 1024
)

// callerKey is the context's key of a caller, and passageKey that of a passage.
type (
	callerKey  struct{}
	passageKey struct{}
)

// passage is one request to one node.
type passage struct {
	number  uint64 // of the request
	address string
	caller  string
	conn    atomic.Pointer[net.Conn] // that was made for the request, if one was
}

// end closes the connection that was made for the request.
func (p *passage) end() {
	if conn := p.conn.Load(); conn != nil {
		_ = (*conn).Close()
	}
}

// WithCaller returns a context whose calls are known to be of one caller. identify returns a name for it that no other caller
// has, or nothing if the caller is not known; it is called if the name is needed, during the call.
//
// Each call to a stock service has a body. A server that leaves it unread takes it for the next request on the connection.
// So such connections are reused for the same caller alone, and not at all for callers that are not known.
func WithCaller(ctx context.Context, identify func() string) context.Context {
	return context.WithValue(ctx, callerKey{}, identify)
}

// callerOf returns the name of the caller of a context, or nothing.
func callerOf(ctx context.Context) string {
	if identify, ok := ctx.Value(callerKey{}).(func() string); ok {
		return identify()
	}
	return ""
}

// stock calls services that were written with plain go-micro, on its default transport: HTTP/1.1, where Micro-* headers name the
// method (go-micro v5.30.0: server/rpc_server.go, transport/http_socket.go).
//
// Four faults of that server are got round here. It tells requests of one connection apart by the header Micro-ID, which HTTP
// makes Micro-Id, so that one that comes quickly after another is lost: a Micro-Stream of its own for each does what was meant. It
// repeats the headers of a connection's first request in all its answers: nothing of an answer's headers is passed on, but for its
// error. It keeps each request's timer until the connection ends: connections are closed after some requests.
// And it cancels a request with a timeout at once where it is a connection's last: that one has none.
//
// Nodes of a service on go-micro's gRPC server are called as the mesh's own, over connections without TLS. All nodes of a name share its
// calls, on every transport.
type stock struct {
	nodes   *discovery.Selector
	connect func(*discovery.Candidate) (*grpc.ClientConn, error)
	http    *http.Transport
	nats    *natsMessages
	next    atomic.Uint64
}

func newStock(dir discovery.Directory, c *Client) *stock {
	dialer := &c.guests.dialer
	messages := newNATSMessages()
	left := func(from *discovery.Candidate) {
		messages.left(from.Node.Address)
		c.disconnect(from)
	}
	return &stock{
		nats:    messages,
		nodes:   discovery.NewSelector(dir, left, discovery.Among((*discovery.Node).StockRPC)),
		connect: func(to *discovery.Candidate) (*grpc.ClientConn, error) { return c.connectBy(to, c.guests.dial) },
		http: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				p := ctx.Value(passageKey{}).(*passage) // see stockRequest
				conn, err := dialer.DialContext(ctx, network, p.address)
				if err == nil {
					p.conn.Store(&conn)
				}
				return conn, err
			},
			DisableCompression: true, MaxIdleConns: stockTotal, MaxIdleConnsPerHost: stockConns, IdleConnTimeout: stockIdle,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

func (s *stock) close() error {
	s.http.CloseIdleConnections()
	s.nats.close()
	return s.nodes.Close()
}

// call sends JSON to one node after the other until one can be reached and knows the endpoint. Nodes that have registered the endpoint are
// tried first. absent reports that the service has no such node.
func (s *stock) call(ctx context.Context, service, endpoint string, body []byte, md metadata.MD) (answer []byte, absent bool, err error) {
	var tried []*discovery.Candidate
	for {
		node, perr := s.nodes.PickFor(service, endpoint, tried...)
		if perr != nil {
			absent = errors.Is(perr, selector.ErrNotFound) || errors.Is(perr, selector.ErrNoneAvailable)
			return nil, absent && len(tried) == 0, err
		}
		started := time.Now()
		var how discovery.Outcome
		answer, how, err = s.send(ctx, node, service, endpoint, body, md)
		node.End(time.Since(started), how)
		if how != discovery.Unreachable && !isUnknown(err) || ctx.Err() != nil {
			return answer, false, err
		}
		if tried = append(tried, node); len(tried) == attempts {
			return nil, false, err
		}
	}
}

// send sends a request to one node in the way that the node speaks.
func (s *stock) send(ctx context.Context, to *discovery.Candidate, service, endpoint string, body []byte, md metadata.MD) ([]byte, discovery.Outcome, error) {
	switch to.Node.Transport() {
	case "grpc":
		return s.invoke(ctx, to, service, endpoint, body, md)
	case "nats":
		return s.nats.call(ctx, s.next.Add(1), to.Node.Address, service, endpoint, body, md)
	}
	return s.try(ctx, to.Node.Address, service, endpoint, body, md)
}

// invoke sends a request to one node by gRPC.
func (s *stock) invoke(ctx context.Context, to *discovery.Candidate, service, endpoint string, body []byte, md metadata.MD) ([]byte, discovery.Outcome, error) {
	cc, err := s.connect(to)
	if err != nil {
		return nil, discovery.Unreachable, fromStatus(service, err, nil)
	}
	var answer []byte
	var trailer metadata.MD
	var reached peer.Peer
	err = cc.Invoke(explicit(ctx, md), path(service, endpoint), &body, &answer, grpc.ForceCodecV2(rawCodec("json")), grpc.Trailer(&trailer), grpc.Peer(&reached))
	how := outcome(reached.Addr != nil, err)
	if err != nil {
		return nil, how, oversized(service, fromStatus(service, err, trailer), len(body))
	}
	answer, err = stockAnswer(service, answer)
	return answer, how, err
}

// isUnknown reports whether a node on gRPC said that it has no such endpoint.
func isUnknown(err error) bool {
	s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	return ok && unknown(s)
}

// try sends a request to one node. Once there is a connection it may have been sent, and is not sent again.
func (s *stock) try(ctx context.Context, address, service, endpoint string, body []byte, md metadata.MD) ([]byte, discovery.Outcome, error) {
	p := &passage{number: s.next.Add(1), address: address, caller: callerOf(ctx)}
	if p.caller == "" { // it has made this call alone: Connection: close would take the deadline away
		p.caller = "call " + strconv.FormatUint(p.number, 10)
		defer p.end()
	}
	req, err := stockRequest(ctx, p, service, endpoint, body, md)
	if err != nil {
		return nil, discovery.Failed, errs.New(errs.Internal, "", "%s", generic(errs.Internal)).Because(err)
	}
	rsp, err := s.http.RoundTrip(req)
	if err != nil {
		how := discovery.Failed
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			how = discovery.Unreachable
		}
		if how == discovery.Failed && ctx.Err() == nil {
			return nil, how, lost(service, err)
		}
		return nil, how, broken(ctx, service, err)
	}
	defer rsp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(rsp.Body, MaxMessage+1))
	switch {
	case err != nil && ctx.Err() == nil:
		return nil, discovery.Failed, lost(service, err)
	case err != nil:
		return nil, discovery.Failed, broken(ctx, service, err)
	case len(answer) > MaxMessage:
		return nil, discovery.Refused, badAnswer("the answer of %s is larger than %d bytes", service, MaxMessage)
	case rsp.Header.Get("Micro-Error") != "":
		return nil, discovery.Refused, fromStock(service, rsp.Header.Get("Micro-Error"))
	case rsp.StatusCode != http.StatusOK || !strings.HasPrefix(rsp.Header.Get("Content-Type"), "application/json"):
		err := errors.New("it answered " + rsp.Status + " of type " + strconv.Quote(rsp.Header.Get("Content-Type")))
		return nil, discovery.Refused, badAnswer("%s did not answer as a service of go-micro does", service).Because(err)
	}
	answer, err = stockAnswer(service, answer)
	return answer, discovery.Answered, err
}

func stockRequest(ctx context.Context, p *passage, service, endpoint string, body []byte, md metadata.MD) (*http.Request, error) {
	// net/http shares connections by the host of the URL: one for each caller and address makes them the caller's own.
	own := sha256.Sum256([]byte(p.caller + " " + p.address))
	ctx = context.WithValue(ctx, passageKey{}, p)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hex.EncodeToString(own[:])+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = p.address
	for k, values := range md {
		for _, v := range values {
			if printable(v) {
				req.Header.Add(k, v)
			}
		}
	}
	id := strconv.FormatUint(p.number, 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Micro-Service", service)
	req.Header.Set("Micro-Endpoint", endpoint)
	req.Header.Set("Micro-Method", endpoint)
	req.Header.Set("Micro-Id", id)
	req.Header.Set("Micro-Stream", id)
	req.Close = p.number%stockReuse == 0
	if deadline, ok := ctx.Deadline(); ok && !req.Close {
		req.Header.Set("Timeout", strconv.FormatInt(max(int64(time.Until(deadline)), 1), 10)) // nanoseconds
	}
	return req, nil
}

// broken is the error of a request that has no answer.
func broken(ctx context.Context, service string, err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case ctx.Err() != nil:
		code = codes.Canceled
	}
	return fromStatus(service, status.Error(code, err.Error()), nil)
}

// stockAnswer returns the JSON of an answer. A server of go-micro answers nothing at all where a handler's error has no text.
func stockAnswer(service string, answer []byte) ([]byte, error) {
	answer = bytes.TrimSpace(answer)
	if len(answer) == 0 {
		return nil, withOrigin(say(errs.Internal, ""), service, errors.New("a handler returned an error without text"))
	}
	if !json.Valid(answer) {
		return nil, badAnswer("the answer of %s is no JSON", service)
	}
	return answer, nil
}

// fromStock is the error that a stock service answered with: go-micro's error as JSON, or any text, of which callers are told nothing.
func fromStock(service, text string) error {
	if m := merrors.Parse(text); isError(m) {
		return withOrigin(fromMicro(m), service, m)
	}
	if text == context.DeadlineExceeded.Error() { // the deadline went with the request, and the service noticed it first
		return fromStatus(service, status.Error(codes.DeadlineExceeded, text), nil)
	}
	return withOrigin(say(errs.Internal, ""), service, errors.New(text))
}
