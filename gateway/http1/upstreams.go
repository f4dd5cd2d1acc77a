package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"micromesh/gateway/http1/wire"
)

// UpstreamsConfig is what [Upstreams] work by. Zero values mean the defaults, Unlimited means none.
type UpstreamsConfig struct {
	DialTimeout   time.Duration // for a connection, TLS included; 1 s
	IdleTimeout   time.Duration // of a connection in the pool; 60 s
	HeaderTimeout time.Duration // see ForwardOptions; 30 s
	StreamTimeout time.Duration // see ForwardOptions; 5 min
	TunnelTimeout time.Duration // see ForwardOptions; 10 min
	TunnelCheck   time.Duration // between two looks whether a tunnel may stay open; 15 s, and never Unlimited
	WriteTimeout  time.Duration // for the upstream to take 64 KiB of a request; 10 s

	MaxIdle        int // idle connections to an address; 256
	MaxHeaderBytes int // bytes of an answer's head; 64 KiB
	MaxHeaders     int // fields of an answer; 256

	// Filter tells which of the client's fields are not passed on; DefaultHeaderFilter.
	Filter *HeaderFilter
	// Upgrades are the protocols to which a connection may be upgraded; websocket. What else is asked for is not passed on.
	Upgrades []string
	// TLS is the base of the configuration for https targets.
	TLS *tls.Config
	// Surplus, if not nil, is called with the address of an upstream that has sent bytes that belong to no answer, once every
	// 10 s at most. Its connections are not reused for that time. It must be safe for concurrent use.
	Surplus func(address string)
	// Dial connects to a target's address; by default with a net.Dialer. Connections that have no socket are not reused.
	Dial func(ctx context.Context, t *Target) (net.Conn, error)
}

func (c *UpstreamsConfig) setDefaults() {
	defaults(&c.DialTimeout, time.Second)
	defaults(&c.IdleTimeout, time.Minute)
	defaults(&c.HeaderTimeout, 30*time.Second)
	defaults(&c.StreamTimeout, 5*time.Minute)
	defaults(&c.TunnelTimeout, 10*time.Minute)
	if c.TunnelCheck <= 0 {
		c.TunnelCheck = 15 * time.Second
	}
	defaults(&c.WriteTimeout, 10*time.Second)
	defaults(&c.MaxIdle, 256)
	defaults(&c.MaxHeaderBytes, 64<<10)
	defaults(&c.MaxHeaders, 256)
	if c.Filter == nil {
		c.Filter = DefaultHeaderFilter()
	}
	if c.Upgrades == nil {
		c.Upgrades = []string{"websocket"}
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, t *Target) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", t.Address)
		}
	}
}

func (c *UpstreamsConfig) limits() wire.Limits {
	return wire.Limits{Line: c.MaxHeaderBytes, Head: c.MaxHeaderBytes, Fields: c.MaxHeaders}
}

// Upstreams forwards requests, over connections that it keeps for the next ones. It is safe for concurrent use.
type Upstreams struct {
	cfg     UpstreamsConfig
	buffers buffers
	stop    chan struct{}
	swept   sync.WaitGroup

	mu    sync.RWMutex
	pools map[endpoint]*pool // nil when closed
}

// endpoint is what connections are alike in.
type endpoint struct {
	address, serverName string
	tls, operator       bool
}

// ErrUpstreamsClosed says that Close was called.
var ErrUpstreamsClosed = errors.New("the upstreams are closed")

// NewUpstreams makes a forwarder, which is to be closed in the end.
func NewUpstreams(cfg UpstreamsConfig) *Upstreams {
	cfg.setDefaults()
	u := &Upstreams{cfg: cfg, pools: make(map[endpoint]*pool), stop: make(chan struct{})}
	u.swept.Go(u.sweep)
	return u
}

// Close closes the idle connections; those in use are closed when they are given back.
func (u *Upstreams) Close() {
	u.mu.Lock()
	pools := u.pools
	u.pools = nil
	u.mu.Unlock()
	if pools == nil {
		return
	}
	close(u.stop)
	u.swept.Wait()
	for _, p := range pools {
		p.retire(time.Time{})
	}
}

// Forget closes the idle connections to an address, for when what listened there is gone.
func (u *Upstreams) Forget(address string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for e, p := range u.pools {
		if e.address == address {
			delete(u.pools, e)
			p.retire(time.Time{})
		}
	}
}

// Idle is the number of idle connections.
func (u *Upstreams) Idle() int {
	u.mu.RLock()
	defer u.mu.RUnlock()
	n := 0
	for _, p := range u.pools {
		n += p.len()
	}
	return n
}

// sweep closes what has been idle for too long, until Close.
func (u *Upstreams) sweep() {
	every := max(u.cfg.IdleTimeout/4, 10*time.Millisecond)
	if u.cfg.IdleTimeout == 0 {
		every = time.Minute
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-u.stop:
			return
		case now := <-tick.C:
			u.sweepOnce(now)
		}
	}
}

func (u *Upstreams) sweepOnce(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for e, p := range u.pools {
		if u.cfg.IdleTimeout > 0 {
			p.expire(now.Add(-u.cfg.IdleTimeout))
		}
		if p.len() == 0 && p.retire(now.Add(-time.Minute)) {
			delete(u.pools, e)
		}
	}
}

// pool finds the pool for a target.
func (u *Upstreams) pool(t *Target) (*pool, error) {
	e := endpoint{address: t.Address, tls: t.TLS, operator: t.Operator}
	if t.TLS {
		e.serverName = t.ServerName
	}
	u.mu.RLock()
	p, closed := u.pools[e], u.pools == nil
	u.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	if closed {
		return nil, ErrUpstreamsClosed
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pools == nil {
		return nil, ErrUpstreamsClosed
	}
	if p = u.pools[e]; p == nil {
		p = &pool{max: u.cfg.MaxIdle, surplus: u.surplus(t.Address)}
		u.pools[e] = p
	}
	return p, nil
}

// dial makes a new connection to the target.
func (u *Upstreams) dial(ctx context.Context, t *Target, p *pool) (*upstreamConn, error) {
	if u.cfg.DialTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, u.cfg.DialTimeout)
		defer cancel()
	}
	nc, err := u.cfg.Dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("connect to the upstream: %w", err)
	}
	up := &upstreamConn{pool: p}
	up.watch(nc)
	if t.TLS {
		up.records = &records{Conn: nc, socket: &up.socket}
		nc = up.records
		if nc, err = u.handshake(ctx, t, nc); err != nil {
			return nil, err
		}
	}
	up.init(nc, &u.buffers)
	up.scan.Limits = u.cfg.limits()
	// An answer that comes before any request is passed on, but another one may follow to the request.
	up.spent = up.look(&up.link) != quiet
	return up, nil
}

// surplus returns what a pool calls when its upstream has sent bytes that belong to no answer.
func (u *Upstreams) surplus(address string) func() {
	if u.cfg.Surplus == nil {
		return nil
	}
	return func() { u.cfg.Surplus(address) }
}

func (u *Upstreams) handshake(ctx context.Context, t *Target, nc net.Conn) (net.Conn, error) {
	cfg := u.cfg.TLS.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	cfg.ServerName = t.ServerName
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = strings.Cut(t.Address, ":")
		if host, _, err := net.SplitHostPort(t.Address); err == nil {
			cfg.ServerName = host
		}
	}
	conn := tls.Client(nc, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS handshake with the upstream: %w", err)
	}
	return conn, nil
}
