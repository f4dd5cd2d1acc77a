package http1

import (
	"context"
	"net/netip"

	"micromesh/gateway/http1/wire"
)

// Handler answers requests.
type Handler interface {
	// ServeHTTP1 answers the exchange's request: it calls one of Respond, Fail, Refuse, Stream or Upstreams.Forward. One that
	// returns without an answer has failed, and so has one that panics: the client gets 500. The exchange, and all slices
	// that it gave out, are not to be used after the return.
	ServeHTTP1(x *Exchange)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(x *Exchange)

// ServeHTTP1 calls f.
func (f HandlerFunc) ServeHTTP1(x *Exchange) { f(x) }

var _ Handler = HandlerFunc(nil)

// Exchange is a request and its answer. There is one for each connection, which is used again for every request. Its
// methods are for the goroutine that the handler runs on, but for Context and Abort.
type Exchange struct {
	c   *conn
	req wire.Request

	header   HeaderList    // of the answer
	upstream HeaderList    // for the forwarded request
	path     string        // that the upstream receives in place of the client's; "" is the client's
	withheld string        // the client's field that the upstream doesn't get, in lower case
	without  *HeaderFilter // further such fields, or nil
	value    any

	body     body
	pre      []byte // the first bytes of the body, as far as they were read ahead
	preBuf   []byte // what pre lies in, if not in the link's buffer
	preRead  int    // how much of pre Read has given
	window   []byte // read from body, but not given by Read yet
	streamed bool   // the body was read beyond pre: it can't be sent again
	expects  bool   // the client waits for 100 (Continue)

	answer answer
	stream Stream
	fwd    forwarding
}

// Method is the request's method.
func (x *Exchange) Method() []byte { return x.req.Method }

// Target is the request's target as it was sent.
func (x *Exchange) Target() []byte { return x.req.Target }

// Path is the target's path, in the bytes in which it was sent: nothing is decoded. It starts with one slash (but for
// OPTIONS *), and has neither dot segments nor backslashes, however encoded.
func (x *Exchange) Path() []byte { return x.req.Path }

// RawQuery is what follows the target's first question mark, as it was sent and unchecked.
func (x *Exchange) RawQuery() []byte { return x.req.Query }

// Host is the request's host and, if it was sent, port, in the case in which it was sent. It is syntactically valid, and
// empty in an HTTP/1.0 request without one.
func (x *Exchange) Host() []byte { return x.req.Host }

// Minor is the protocol's minor version: 0 or 1.
func (x *Exchange) Minor() int { return x.req.Minor }

// Fields are the request's header fields in their order.
func (x *Exchange) Fields() wire.Fields { return x.req.Fields }

// Get gives the first value of the request's header field with that name, which is in lower case, or nil.
func (x *Exchange) Get(lower string) []byte { return x.req.Fields.Get(lower) }

// IsUpgrade reports whether the client asks to go on in another protocol, as WebSocket does.
func (x *Exchange) IsUpgrade() bool { return x.req.Upgrade != nil }

// TLS reports whether the connection is encrypted.
func (x *Exchange) TLS() bool { return x.c.tls }

// SoleConn returns the number of the client's connection, which no other connection has. It returns 0 if requests of other
// callers may come over the connection, since a proxy is at its other end, and if the connection ends with this request.
func (x *Exchange) SoleConn() uint64 {
	if x.req.Close || x.c.trusted || x.Get("x-forwarded-for") != nil || x.Get("forwarded") != nil || x.Get("via") != nil {
		return 0
	}
	return x.c.id
}

// RemoteAddr is the connection's other end.
func (x *Exchange) RemoteAddr() netip.AddrPort { return x.c.remote }

// ClientIP is the address of the client: the connection's other end or, where that is a trusted proxy, the last address in
// X-Forwarded-For that isn't one.
func (x *Exchange) ClientIP() netip.Addr { return x.clientIP() }

// Header holds the fields that the answer is sent with, beside those that frame it. In a forwarded answer they replace
// the upstream's of the same name.
func (x *Exchange) Header() *HeaderList { return &x.header }

// UpstreamHeader holds the fields that a forwarded request is sent with, in place of the client's of the same name.
func (x *Exchange) UpstreamHeader() *HeaderList { return &x.upstream }

// Withhold keeps a field of the client's, named in lower case, from the upstream.
func (x *Exchange) Withhold(lower string) { x.withheld = lower }

// Rewrite has the upstream receive another path than the client sent, percent-encoded and valid. The query stays.
func (x *Exchange) Rewrite(path string) { x.path = path }

// WithholdAll keeps the fields that a filter drops from the upstream, beside that of Withhold.
func (x *Exchange) WithholdAll(f *HeaderFilter) { x.without = f }

// SetValue keeps a value of the handler's for the exchange, for ErrorBody to find. It is nil at the start of each request.
func (x *Exchange) SetValue(v any) { x.value = v }

// Value is what SetValue kept.
func (x *Exchange) Value() any { return x.value }

// Context ends with ErrClientGone as its cause when the client goes away, and when the server is closed. It is made on
// the first call in a request; whoever needs none pays for none. It may be called by any goroutine during the call.
func (x *Exchange) Context() context.Context { return x.c.context() }

// Abort breaks the client's connection off, and whatever the exchange waits for. It may be called by any goroutine during
// the call of the handler.
func (x *Exchange) Abort() { x.c.kill() }

// Status is the status of the answer so far: 0 as long as there is none.
func (x *Exchange) Status() int { return x.answer.status }

// BytesSent is how many bytes of the answer, head included, were written to the connection.
func (x *Exchange) BytesSent() int64 { return x.answer.sent }

// start makes the exchange ready for the request that was parsed into it.
func (x *Exchange) start() {
	cfg := &x.c.srv.cfg
	x.header.Reset()
	x.upstream.Reset()
	x.value, x.withheld, x.without, x.path = nil, "", nil, ""
	x.body.start(&x.c.in, x.req.Length)
	x.SetBodyLimit(cfg.MaxBodyBytes)
	x.body.idle, x.body.minRate = cfg.BodyTimeout, cfg.MinBodyRate
	x.pre, x.preRead, x.window, x.streamed = nil, 0, nil, false
	x.expects = x.req.Continue
	x.answer = answer{buf: x.answer.buf[:0], close: x.req.Close}
}

// end gives back what the exchange borrowed.
func (x *Exchange) end() {
	x.c.srv.buffers.put(x.preBuf)
	x.preBuf, x.pre, x.window, x.value = nil, nil, nil, nil
	x.req.Method = nil
	if cap(x.answer.buf) > smallBuffer {
		x.c.srv.buffers.put(x.answer.buf)
		x.answer.buf = nil
	}
}
