package app_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"micromesh/gateway/app"
	"micromesh/gateway/service"
)

// TestNamesDontLeadPastGuards dials addresses that accounts name, after names were resolved.
func TestNamesDontLeadPastGuards(t *testing.T) {
	table := service.NewTable(slog.New(slog.DiscardHandler))
	at := func(id, url string) []service.Instance { return []service.Instance{{ID: id, URL: url, Live: true}} }
	table.Update(map[string][]service.Instance{
		"vic-svc": at("1", "http://127.0.0.1:9000"), "named-svc": at("2", "http://shop:9000"), "open-svc": at("3", "http://10.0.0.9:9000"),
	}, nil)
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host == "shop" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.5")}, nil
		}
		return nil, errors.New("no such host")
	}
	check := app.CheckGuarded(table, lookup)
	if err := check(t.Context(), "machine:9000", "", "127.0.0.1:9000"); err != nil {
		t.Errorf("nothing is guarded: %v", err)
	}
	table.Close(service.Closing{Slugs: []string{"vic-svc", "named-svc"}, URLs: []string{"http://10.0.0.7:80/base"}})
	for _, row := range []struct {
		target, prefix, resolved string
		refused                  bool
	}{
		{"127.0.0.1:9000", "", "127.0.0.1:9000", false}, // its own name: the table has decided
		{"machine:9000", "", "127.0.0.1:9000", true},
		{"machine:9000", "/x", "127.0.1.1:9000", true}, // all of loopback is one
		{"machine:9000", "", "[::ffff:127.0.0.1]:9000", true},
		{"machine:9001", "", "127.0.0.1:9001", false}, // another port
		{"shop:9000", "", "10.0.0.5:9000", false},
		{"10.0.0.5:9000", "", "10.0.0.5:9000", true}, // a container's address instead of its name
		{"alias:9000", "", "10.0.0.5:9000", true},
		{"alias:9000", "", "10.0.0.9:9000", false}, // nobody guards it
		{"10.0.0.7:80", "", "10.0.0.7:80", false},  // the table has decided
		{"alias:80", "", "10.0.0.7:80", true},
		{"alias:80", "/base", "10.0.0.7:80", false}, // the same paths as the guarded ones
	} {
		if err := check(t.Context(), row.target, row.prefix, row.resolved); (err != nil) != row.refused {
			t.Errorf("%s with %q at %s: %v", row.target, row.prefix, row.resolved, err)
		}
	}
}
