package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"micromesh/gateway/http1"
	"micromesh/gateway/service"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
)

// network returns the policy for addresses that the gateway connects to.
func (a *App) network() (*netpolicy.Policy, error) {
	cidrs := a.cfg.InstanceNetworks
	if len(cidrs) == 0 {
		cidrs = netpolicy.Networks
	}
	networks, err := netpolicy.ParseNetworks(cidrs)
	if err != nil {
		return nil, err
	}
	return netpolicy.New(netpolicy.Config{
		Networks:  networks,
		Listeners: func() []string { return append(a.host.Listeners(), a.cfg.Reserved...) },
	}), nil
}

// dialer returns the function that dials upstreams: by one rule for addresses that accounts name, by another for those of operators.
func dialer(network *netpolicy.Policy, g *guarded) func(context.Context, *http1.Target) (net.Conn, error) {
	accounts, operators := network.Control(netpolicy.Account), network.Dialer(netpolicy.Operator)
	return func(ctx context.Context, t *http1.Target) (net.Conn, error) {
		if t.Operator {
			return operators.DialContext(ctx, "tcp", t.Address)
		}
		d := net.Dialer{ControlContext: g.control(accounts, t.Address, t.PathPrefix)}
		return d.DialContext(ctx, "tcp", t.Address)
	}
}

// errGuarded means that an address is that of a guarded upstream, by another name than the upstream's own.
var errGuarded = errors.New("is the address of an upstream which routes.yaml guards, by another name")

// guarded keeps connections to addresses that accounts and guests name away from guarded upstreams. The table of routes compares names; this
// compares what they resolve to.
type guarded struct {
	table       *service.Table
	slugs, urls *netpolicy.Policy
}

func newGuarded(table *service.Table) *guarded {
	return &guarded{
		table: table,
		slugs: netpolicy.New(netpolicy.Config{Listeners: func() []string { s, _, _ := table.Guarded(); return s }}),
		urls:  netpolicy.New(netpolicy.Config{Listeners: func() []string { _, u, _ := table.Guarded(); return u }}),
	}
}

// check refuses a resolved address, "ip:port", of a target. At the upstream's own name the table has decided.
func (g *guarded) check(ctx context.Context, target, prefix, resolved string) error {
	slugs, urls, prefixes := g.table.Guarded()
	if len(slugs) == 0 && len(urls) == 0 {
		return nil
	}
	to, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return fmt.Errorf("read address: %w", err)
	}
	place := routing.Place(target)
	other := slices.ContainsFunc(prefixes, func(p string) bool { return p != prefix })
	if !slices.Contains(slugs, place) && g.slugs.Listens(ctx, to) || other && !slices.Contains(urls, place) && g.urls.Listens(ctx, to) {
		return errGuarded
	}
	return nil
}

// control returns the ControlContext of a dialer for a target, after the one of the policy.
func (g *guarded) control(first controlFunc, target, prefix string) controlFunc {
	return func(ctx context.Context, network, resolved string, c syscall.RawConn) error {
		if err := first(ctx, network, resolved, c); err != nil {
			return err
		}
		return g.check(ctx, target, prefix, resolved)
	}
}

type controlFunc = func(ctx context.Context, network, address string, c syscall.RawConn) error
