package app

import (
	"context"
	"net/netip"

	"micromesh/gateway/service"
	"micromesh/pkg/netpolicy"
)

// CheckGuarded returns the check of addresses that accounts name, with a resolver of the test's.
func CheckGuarded(table *service.Table, lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)) func(ctx context.Context, target, prefix, resolved string) error {
	g := newGuarded(table)
	g.slugs = netpolicy.New(netpolicy.Config{Lookup: lookup, Listeners: func() []string { s, _, _ := table.Guarded(); return s }})
	g.urls = netpolicy.New(netpolicy.Config{Lookup: lookup, Listeners: func() []string { _, u, _ := table.Guarded(); return u }})
	return g.check
}
