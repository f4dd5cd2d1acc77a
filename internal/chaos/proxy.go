// Package chaos breaks meshes of real processes, and sees whether what their users notice is what may be: its tests are the
// rows of docs/reliability.md. The cheap ones run with all other tests, those that take minutes with the build tag "chaos".
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Fault is what a proxy does to connections.
type Fault int

// The faults.
const (
	None      Fault = iota // bytes pass
	Slow                   // each answer comes later by the proxy's delay
	BlackHole              // connections are accepted, and nothing passes until the fault ends, as where packets are dropped
	Refusal                // connections are cut off, and new ones refused, as where nobody listens
)

// Proxy forwards TCP connections to a server, and is where they break. It is safe for concurrent use.
type Proxy struct {
	network, target string
	delay           time.Duration
	address         string

	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed when the fault changes
	ln      net.Listener  // nil while connections are refused
	conns   map[net.Conn]bool
	running sync.WaitGroup
}

// NewProxy makes a proxy on a loopback address to a server, such as "unix", "/run/.s.PGSQL.5432". Delay is that of Slow. Close it.
func NewProxy(network, target string, delay time.Duration) (*Proxy, error) {
	p := &Proxy{network: network, target: target, delay: delay, address: "127.0.0.1:0", changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.listen()
}

// Address is "host:port" of the proxy.
func (p *Proxy) Address() string { return p.address }

// Set begins a fault, which ends the one before. Its error is that nothing can listen on the proxy's address any more.
func (p *Proxy) Set(f Fault) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	if f == Refusal {
		p.hangUp()
		return nil
	}
	if p.ln == nil {
		return p.listen()
	}
	return nil
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	_ = p.Set(Refusal) // which can't fail
	p.running.Wait()
}

// listen is called with mu held.
func (p *Proxy) listen() error {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", p.address)
	if err != nil {
		return fmt.Errorf("listen as a proxy: %w", err)
	}
	p.ln, p.address = ln, ln.Addr().String()
	p.running.Go(func() { p.accept(ln) })
	return nil
}

// hangUp is called with mu held.
func (p *Proxy) hangUp() {
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln = nil
	}
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && p.track(conn) {
			p.running.Go(func() { p.serve(conn) })
		}
	}
}

// track remembers a connection, or closes it where connections are cut off.
func (p *Proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == Refusal {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	if !p.pass(0) {
		return
	}
	var d net.Dialer
	server, err := d.DialContext(context.Background(), p.network, p.target)
	if err != nil || !p.track(server) {
		return
	}
	defer p.drop(server)
	ended := make(chan struct{}, 2)
	for _, way := range []func(){
		func() { p.forward(server, client, 0) },
		func() { p.forward(client, server, p.delay) },
	} {
		p.running.Go(func() { way(); ended <- struct{}{} })
	}
	<-ended // either side's end is the end of both
}

// forward copies from one side to the other as the fault of each moment lets it.
func (p *Proxy) forward(to io.Writer, from io.Reader, delay time.Duration) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass(delay) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until something may pass, and tells false where nothing will. Delay is what Slow adds.
func (p *Proxy) pass(delay time.Duration) bool {
	for {
		p.mu.Lock()
		fault, changed := p.fault, p.changed
		p.mu.Unlock()
		switch {
		case fault == Refusal:
			return false
		case fault == BlackHole:
			<-changed
			continue
		case fault == Slow && delay > 0:
			select {
			case <-time.After(delay):
			case <-changed: // what waits passes at once
				delay = 0
				continue
			}
		}
		return true
	}
}
