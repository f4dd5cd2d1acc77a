// Package client is the RPC client of the mesh: a go-micro client.Client, straight on grpc-go.
//
// Generated stubs call through it, and counterfeiter's fakes stand in for them; [Client.Raw] passes encoded messages
// through for the gateway. There is one connection to each node, dialled when it is first needed and closed when the
// node has left and its last call has ended; package discovery chooses the node. Deadlines and cancellation travel with
// a call. It is tried again, on another node, only where no connection could be established or the endpoint is unknown
// there, so that no handler ever runs twice; grpc-go itself repeats what a server said that it did not look at. Of the caller's metadata only an
// allow-list travels on. Every error is an *errs.Error, with go-micro's *errors.Error in its chain.
//
// Services that were written with plain go-micro, and brought into discovery, are called by [Client.Raw] alone, on go-micro's
// default transport where they have no node that speaks gRPC.
//
// Of go-micro's options, wrappers, retries, back-off, selectors, caches, codecs and pools mean nothing here; content
// type, timeouts and addresses do.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go-micro.dev/v5/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"micromesh/pkg/discovery"
)

// MaxMessage bounds a message in bytes, both ways.
const MaxMessage = 16 << 20

// Config bounds what a call may take. Its zero value is useful.
type Config struct {
	Timeout     time.Duration // of a call whose context has no deadline; 5 s
	DialTimeout time.Duration // of establishing a connection; 1 s
	// Credentials of connections, whose authority is the slug of the service that is called; nil connects in plain text.
	Credentials credentials.TransportCredentials
}

func (c *Config) complete() error {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = time.Second
	}
	if c.Timeout < 0 || c.DialTimeout < 0 {
		return errors.New("rpc client: Timeout and DialTimeout must be positive")
	}
	return nil
}

// Client calls services. Its methods are safe for concurrent use.
type Client struct {
	nodes    *discovery.Selector
	stock    *stock
	dial     []grpc.DialOption
	patience time.Duration // with nodes that can't be reached, beyond the first attempts
	guests   guests        // how stock services are dialled
	ready    readier       // nil where the directory is always complete
	seen     atomic.Bool   // it was, once
	conns    sync.Map      // *discovery.Candidate, or named → *conn

	reports sync.Pool // *report

	mu       sync.RWMutex
	defaults client.Options
	closed   bool
	closing  sync.WaitGroup // connections of nodes that left; added to while not closed
}

var _ client.Client = (*Client)(nil)

// readier is a directory that is empty until it was read once. A *discovery.Registry is.
type readier interface {
	Ready(ctx context.Context) error
}

// New makes a client that finds its nodes in a directory, such as a *discovery.Registry. Close ends it.
func New(dir discovery.Directory, cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Client{dial: dialOptions(cfg), patience: cfg.DialTimeout, reports: sync.Pool{New: newReport}}
	c.nodes = discovery.NewSelector(dir, c.disconnect)
	c.guests.dialer = net.Dialer{Timeout: cfg.DialTimeout, ControlContext: c.guests.check}
	plain := cfg
	plain.Credentials = nil // guests have no certificates, whatever the mesh's own services have
	c.guests.dial = append(dialOptions(plain), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return c.guests.dialer.DialContext(ctx, "tcp", address)
	}))
	c.stock = newStock(dir, c)
	c.ready, _ = dir.(readier)
	c.defaults = client.Options{
		Context:     context.Background(),
		ContentType: contentTypeProto,
		Selector:    c.nodes,
		CallOptions: client.CallOptions{RequestTimeout: cfg.Timeout, DialTimeout: cfg.DialTimeout},
	}
	return c, nil
}

// Close closes all connections: calls in flight fail.
func (c *Client) Close() error {
	err := errors.Join(c.nodes.Close(), c.stock.close())
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.conns.Range(func(key, v any) bool {
		c.conns.Delete(key)
		err = errors.Join(err, v.(*conn).close())
		return true
	})
	c.closing.Wait()
	return err
}

// Init sets the default content type and the default timeout of calls; other options are accepted and mean nothing.
func (c *Client) Init(opts ...client.Option) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.defaults
	for _, o := range opts {
		o(&next)
	}
	if _, err := codecFor(next.ContentType); err != nil {
		return fmt.Errorf("rpc client: %w", err)
	}
	if next.CallOptions.RequestTimeout <= 0 {
		return fmt.Errorf("rpc client: the request timeout must be positive, not %v", next.CallOptions.RequestTimeout)
	}
	c.defaults = next
	return nil
}

// Options gives the options that are in force.
func (c *Client) Options() client.Options {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.defaults
}

// String names the implementation.
func (c *Client) String() string { return "micromesh" }

// Publish always fails: events leave through a transactional outbox, which package pkg/events writes.
func (c *Client) Publish(context.Context, client.Message, ...client.PublishOption) error {
	return errors.New("rpc client: it doesn't publish; use pkg/events")
}
