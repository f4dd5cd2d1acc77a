package netpolicy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Class is the kind of party that named an address.
type Class uint8

// The classes.
const (
	Account  Class = iota // instances, health checks, plain go-micro services
	Operator              // routes.yaml, routes of admins
)

// Networks are the networks of instances by default: private ones (RFC 1918, RFC 4193) and those of carriers (RFC 6598).
var Networks = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"}

// Loopback are this machine's own networks, for meshes on one machine.
var Loopback = []string{"127.0.0.0/8", "::1/128"}

// ParseNetworks reads CIDRs. The error names each that is wrong.
func ParseNetworks(cidrs []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var wrong []error
	for _, s := range cidrs {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || p.Addr().Is4In6() {
			wrong = append(wrong, fmt.Errorf("MICRO_INSTANCE_NETWORKS holds %q; it must be a CIDR, such as 10.0.0.0/8", s))
			continue
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(wrong...)
}

// Config of a policy.
type Config struct {
	Networks []netip.Prefix // that accounts may name addresses in
	// Listeners returns the addresses of the mesh itself, "host:port"; nil returns no address. An unspecified host is every address
	// of this machine. It is called by several goroutines.
	Listeners func() []string
	// Lookup resolves the names among them; default net.DefaultResolver.LookupNetIP.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Policy decides. It is safe for concurrent use.
type Policy struct {
	cfg Config

	refreshing sync.Mutex
	names      map[string]resolved // guarded by refreshing
	own        atomic.Pointer[own]
	written    atomic.Pointer[own] // the same without names' addresses, for Reserved
}

// New makes a policy.
func New(cfg Config) *Policy {
	if cfg.Lookup == nil {
		cfg.Lookup = net.DefaultResolver.LookupNetIP
	}
	if cfg.Listeners == nil {
		cfg.Listeners = func() []string { return nil }
	}
	return &Policy{cfg: cfg, names: map[string]resolved{}}
}

// Addr returns the reason why a class may not name an address, on any port, or nil.
func (p *Policy) Addr(class Class, a netip.Addr) error {
	if err := Never(a); err != nil {
		return err
	}
	if class == Account && !within(a.Unmap(), p.cfg.Networks) {
		return ErrOutside
	}
	return nil
}

// AddrPort returns the reason why an address may not be dialled for a class, or nil.
func (p *Policy) AddrPort(ctx context.Context, class Class, to netip.AddrPort) error {
	if err := p.Addr(class, to.Addr()); err != nil {
		return err
	}
	if p.listeners(ctx).has(to) {
		return ErrOwn
	}
	return nil
}

// Listens reports whether an address is one of the listeners, which are resolved if they are names. All addresses of loopback are one.
func (p *Policy) Listens(ctx context.Context, to netip.AddrPort) bool {
	if to.Addr().Unmap().IsLoopback() {
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	}
	return p.listeners(ctx).has(to)
}

// Reserved reports whether "host:port" is an address of the mesh itself, by the name or the address that is written there.
func (p *Policy) Reserved(hostPort string) bool {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	o := p.written.Load()
	if o == nil || time.Since(o.made) > writtenFor {
		o = newOwn(p.cfg.Listeners())
		o.made = time.Now()
		p.written.Store(o)
	}
	if to, err := netip.ParseAddrPort(hostPort); err == nil {
		return o.has(to)
	}
	return o.spelled[net.JoinHostPort(strings.ToLower(host), port)]
}

// Control returns the Control function of a dialer that dials for a class.
func (p *Policy) Control(class Class) func(ctx context.Context, network, address string, _ syscall.RawConn) error {
	return func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("read address: %w", err)
		}
		return p.AddrPort(ctx, class, to)
	}
}

// Dialer returns a dialer for a class.
func (p *Policy) Dialer(class Class) *net.Dialer {
	return &net.Dialer{ControlContext: p.Control(class)}
}

// NeverControl is the Control function of a dialer that knows no more than [Never].
func NeverControl(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read address: %w", err)
	}
	return Never(to.Addr())
}

const (
	writtenFor   = 100 * time.Millisecond // Reserved reads the mesh's own addresses again after it
	listenersFor = time.Second            // the mesh's own addresses are looked up again after it
	namesFor     = 30 * time.Second       // and what their names were resolved to
	againAfter   = 5 * time.Second        // a name that could not be resolved
	lookupTime   = 500 * time.Millisecond // for all names together
)

// resolved is the outcome of looking a name up.
type resolved struct {
	addrs []netip.Addr
	until time.Time
}

// own are the addresses of the mesh itself.
type own struct {
	made     time.Time
	spelled  map[string]bool // "host:port" as configured, in lower case
	exact    map[netip.AddrPort]bool
	anywhere map[uint16]bool // ports on every address of this machine
	local    map[netip.Addr]bool
}

// newOwn reads addresses, without resolving names. One on loopback is reached by each of loopback's names.
func newOwn(addresses []string) *own {
	o := &own{spelled: map[string]bool{}, exact: map[netip.AddrPort]bool{}, anywhere: map[uint16]bool{}}
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue // not of the network, such as a socket's file
		}
		host = strings.ToLower(host)
		o.spelled[net.JoinHostPort(host, port)] = true
		at, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
		ip := at.Addr().Unmap()
		if err == nil {
			o.exact[netip.AddrPortFrom(ip, at.Port())] = true
		}
		if host == "" || host == "localhost" || err == nil && (ip.IsUnspecified() || ip.IsLoopback()) {
			o.spelled[net.JoinHostPort("localhost", port)] = true
			for _, l := range []string{"127.0.0.1", "::1"} {
				if at, err := netip.ParseAddrPort(net.JoinHostPort(l, port)); err == nil {
					o.exact[at] = true
				}
			}
		}
		if n, perr := strconv.ParseUint(port, 10, 16); perr == nil && (host == "" || err == nil && ip.IsUnspecified()) {
			o.anywhere[uint16(n)] = true
		}
	}
	if len(o.anywhere) > 0 {
		o.local = localAddrs()
	}
	return o
}

// localAddrs returns this machine's addresses.
func localAddrs() map[netip.Addr]bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a system that doesn't say
	}
	out := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return out
}

// has reports whether an address is one of them, also where an IPv6 address stands for it.
func (o *own) has(to netip.AddrPort) bool {
	a := to.Addr().Unmap()
	if o.exact[netip.AddrPortFrom(a, to.Port())] || o.anywhere[to.Port()] && (a.IsLoopback() || o.local[a]) {
		return true
	}
	if a.Is4() || a.IsLoopback() {
		return false
	}
	for v4 := range embedded(a) {
		if o.has(netip.AddrPortFrom(v4, to.Port())) {
			return true
		}
	}
	return false
}

// listeners returns the addresses of the mesh itself as of a moment ago. Only one caller at a time looks them up again.
func (p *Policy) listeners(ctx context.Context) *own {
	o := p.own.Load()
	if o != nil && time.Since(o.made) < listenersFor {
		return o
	}
	if o == nil {
		p.refreshing.Lock()
	} else if !p.refreshing.TryLock() {
		return o
	}
	defer p.refreshing.Unlock()
	if o = p.own.Load(); o != nil && time.Since(o.made) < listenersFor {
		return o
	}
	addresses := p.cfg.Listeners()
	o = newOwn(addresses)
	p.resolve(ctx, o)
	o.made = time.Now()
	p.own.Store(o)
	return o
}

// resolve adds the addresses of those that are names. The caller holds refreshing.
func (p *Policy) resolve(ctx context.Context, o *own) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	for at := range o.spelled {
		host, port, err := net.SplitHostPort(at)
		if _, aerr := netip.ParseAddr(host); err != nil || aerr == nil || host == "" || host == "localhost" {
			continue
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		for _, a := range p.lookup(ctx, host) {
			o.exact[netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(n))] = true
		}
	}
}

// lookup resolves a name, or returns what it was resolved to before. The caller holds refreshing.
func (p *Policy) lookup(ctx context.Context, host string) []netip.Addr {
	known := p.names[host]
	now := time.Now()
	if now.Before(known.until) {
		return known.addrs
	}
	addrs, err := p.cfg.Lookup(ctx, "ip", host)
	if err != nil {
		known.until = now.Add(againAfter)
	} else {
		known = resolved{addrs, now.Add(namesFor)}
	}
	p.names[host] = known
	return known.addrs
}
