package client

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"micromesh/pkg/discovery"
)

// Windows of HTTP/2 flow control in bytes. Fixed ones spare grpc-go's pings that measure the bandwidth.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// errClosed is what calls of a closed client get.
var errClosed = status.Error(codes.Canceled, "the RPC client is closed")

// conn is a connection to one node.
type conn struct {
	once sync.Once
	cc   *grpc.ClientConn
	err  error
}

func (c *conn) open(service, address string, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	c.once.Do(func() {
		if service != "" {
			opts = append(opts[:len(opts):len(opts)], grpc.WithAuthority(service))
		}
		c.cc, c.err = grpc.NewClient("passthrough:///"+address, opts...)
	})
	return c.cc, c.err
}

// close closes the connection for good: if it was never opened, it can't be any more.
func (c *conn) close() error {
	c.once.Do(func() { c.err = errClosed })
	if c.cc == nil {
		return nil
	}
	return c.cc.Close()
}

func dialOptions(cfg Config) []grpc.DialOption {
	creds := cfg.Credentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: cfg.DialTimeout,
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
		}),
		// Servers that were not told otherwise hang up on clients that ping more often than every five minutes. The
		// timeout is TCP's too (TCP_USER_TIMEOUT): a node whose host is gone is noticed by what it doesn't acknowledge.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5*time.Minute + 10*time.Second, Timeout: 5 * time.Second}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithDisableServiceConfig(),
	}
}

// connect gives the connection to a candidate's node. Whoever calls it has a call to that node in progress.
func (c *Client) connect(to *discovery.Candidate) (*grpc.ClientConn, error) {
	return c.connectBy(to, c.dial)
}

func (c *Client) connectBy(to *discovery.Candidate, dial []grpc.DialOption) (*grpc.ClientConn, error) {
	if v, ok := c.conns.Load(to); ok {
		return v.(*conn).open(to.Service(), to.Node.Address, dial)
	}
	return c.add(to, to.Service(), to.Node.Address, dial)
}

// named is an address that a caller said a service has.
type named struct{ service, address string }

// connectTo gives the connection to an address that the caller named. It is kept until Close.
func (c *Client) connectTo(to named) (*grpc.ClientConn, error) {
	if v, ok := c.conns.Load(to); ok {
		return v.(*conn).open(to.service, to.address, c.dial)
	}
	return c.add(to, to.service, to.address, c.dial)
}

func (c *Client) add(key any, service, address string, dial []grpc.DialOption) (*grpc.ClientConn, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil, errClosed
	}
	v, _ := c.conns.LoadOrStore(key, new(conn))
	return v.(*conn).open(service, address, dial)
}

// disconnect is the Selector's call when a node has left and its last call has ended. Closing waits for a writer that
// may be stuck, so it is done aside.
func (c *Client) disconnect(from *discovery.Candidate) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return
	}
	if v, ok := c.conns.LoadAndDelete(from); ok {
		c.closing.Go(func() { _ = v.(*conn).close() }) // fails only where it is closed already
	}
}
