// Package http1 is the gateway's data plane: a strict HTTP/1.1 server and a forwarder to upstream servers, written
// over net.Conn, with one goroutine a connection.
//
// # Why not net/http
//
// Forwarding a small answer through net/http costs about 58 µs of CPU, most of it in the client's goroutines, channels and
// header maps. Here the goroutine that serves the client's connection itself writes to the upstream connection and reads
// from it; heads stay where they were read, and fields are slices of that; a request without a body, or with a small one,
// takes one write in each direction, no further goroutine and next to no allocation.
//
// # Strictness
//
// Package [micromesh/gateway/http1/wire] refuses whatever two servers could read in two ways. Nothing of a refused
// request reaches an upstream server. Path and query are checked but never rewritten: they are forwarded byte for byte.
//
// # Serving
//
// A [Server] reads requests and hands each to its [Handler] as an [Exchange], which belongs to the connection and is used
// again for the next request: nothing of it may be kept after the call. The handler answers with [Exchange.Respond],
// [Exchange.Fail] or [Exchange.Stream], or has an upstream server answer with [Upstreams.Forward].
//
// # Upstream connections
//
// A connection to an upstream is reused only if nothing is unread, which a look just before the next request decides. One that
// has carried a body serves the same caller alone, since the upstream may have left the body unread. See ADR 25.
//
// # Clients that leave
//
// A goroutine a server, not one a request, looks for exchanges that have been waiting for longer than a moment and has
// their clients' connections watched. When the client is gone the exchange's context ends and its upstream connection is
// closed.
package http1
