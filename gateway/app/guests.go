package app

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"micromesh/gateway/handler"
)

const (
	guestHello   = 10 * time.Second // until a connection's first bytes must have come
	guestWaiting = 1000             // the most connections whose first bytes have not come
)

// guestPort serves guests that call the mesh, by HTTP/1.1 and by gRPC. A connection's first bytes decide which it is.
type guestPort struct {
	net.Listener // whose Accept is for HTTP/1.1

	http, grpc chan net.Conn
	waiting    chan struct{}
	server     *grpc.Server
	closed     chan struct{}
	close      func()
}

func newGuestPort(ln net.Listener, h *handler.Guests) *guestPort {
	p := &guestPort{
		Listener: ln, http: make(chan net.Conn), grpc: make(chan net.Conn), waiting: make(chan struct{}, guestWaiting),
		server: h.GRPC(), closed: make(chan struct{}),
	}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// run sorts connections until ctx ends, and then lets calls under way finish for a while.
func (p *guestPort) run(ctx context.Context, drain time.Duration) {
	var g sync.WaitGroup
	g.Go(func() { _ = p.server.Serve(grpcSide{p}) }) // ends with the port
	g.Go(func() { p.sort(&g) })
	<-ctx.Done()
	stop := time.AfterFunc(drain, p.server.Stop)
	p.server.GracefulStop()
	stop.Stop()
	_ = p.Close()
	g.Wait()
}

// sort accepts connections until the listener is closed.
func (p *guestPort) sort(g *sync.WaitGroup) {
	for {
		conn, err := p.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			p.close()
			return
		}
		if err != nil { // such as too many open files
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-p.closed:
				return
			}
		}
		select {
		case p.waiting <- struct{}{}:
			g.Go(func() { p.hand(conn) })
		default:
			_ = conn.Close()
		}
	}
}

// hand reads the first bytes of a connection, and passes it on.
func (p *guestPort) hand(conn net.Conn) {
	defer func() { <-p.waiting }()
	const preface = "PRI" // of HTTP/2 (RFC 9113, 3.4); no method of HTTP/1.1 begins with it
	begun := make([]byte, len(preface))
	_ = conn.SetReadDeadline(time.Now().Add(guestHello))
	if _, err := io.ReadFull(conn, begun); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	to := p.http
	if string(begun) == preface {
		to = p.grpc
	}
	select {
	case to <- &begunConn{conn, begun}:
	case <-p.closed:
		_ = conn.Close()
	}
}

// Accept returns a connection that speaks HTTP/1.1.
func (p *guestPort) Accept() (net.Conn, error) { return p.next(p.http) }

func (p *guestPort) next(of chan net.Conn) (net.Conn, error) {
	select {
	case conn := <-of:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the port.
func (p *guestPort) Close() error {
	p.close()
	return p.Listener.Close()
}

// grpcSide returns the connections that speak HTTP/2. Its Close leaves the port open.
type grpcSide struct{ *guestPort }

func (s grpcSide) Accept() (net.Conn, error) { return s.next(s.grpc) }

func (s grpcSide) Close() error { return nil }

// begunConn is a connection whose first bytes were read.
type begunConn struct {
	net.Conn

	begun []byte
}

func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(b, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}
