package app

import (
	"context"
	"net"

	"micromesh/gateway/http1"
	"micromesh/pkg/netpolicy"
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
func dialer(network *netpolicy.Policy) func(context.Context, *http1.Target) (net.Conn, error) {
	accounts, operators := network.Dialer(netpolicy.Account), network.Dialer(netpolicy.Operator)
	return func(ctx context.Context, t *http1.Target) (net.Conn, error) {
		d := accounts
		if t.Operator {
			d = operators
		}
		return d.DialContext(ctx, "tcp", t.Address)
	}
}
