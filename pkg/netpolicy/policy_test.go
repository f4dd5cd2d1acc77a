package netpolicy_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/pkg/netpolicy"
)

func TestNever(t *testing.T) {
	for why, addresses := range map[netpolicy.RefusalError][]string{
		netpolicy.ErrLinkLocal: {
			"169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.255.255", "::ffff:169.254.169.254",
			"fe80::1", "fe80::a9fe:a9fe", "febf::1", "fe80::1%eth0", "fe80::1%25",
			"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1",
			"100.100.100.200", "::ffff:100.100.100.200", "168.63.129.16", "192.0.0.192",
			"::169.254.169.254", "::ffff:0:169.254.169.254", // IPv4-compatible, IPv4-translated
			"64:ff9b::169.254.169.254", "64:ff9b::100.100.100.200", // NAT64
			"64:ff9b:1::169.254.169.254", "64:ff9b:1:0:0:0:a9fe:a9fe", // NAT64 of a site, by each length of its prefix
			"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1::a9:fea9:fe00:0",
			"2002:a9fe:a9fe::1", "2002:a83f:8110::1", // 6to4
			"2001:0:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:5601:5601", // Teredo: its server; its client, inverted
			"2001:db8::5efe:169.254.169.254", "2001:db8::200:5efe:169.254.169.254", "fd12::5efe:a9fe:a9fe", // ISATAP
		},
		netpolicy.ErrNotOneHost: {
			"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "ff02::1", "ff0e::1", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
			"64:ff9b::0.0.0.0", "64:ff9b::127.0.0.1", "2002:7f00:1::1", "2002:e000:1::", "::127.0.0.1", "::ffff:0:127.0.0.1", "fd12::5efe:127.0.0.1",
		},
		netpolicy.ErrZoned: {"2001:db8::1%eth0", "fd12::1%1", "::1%lo"},
		"": {
			"127.0.0.1", "127.255.0.1", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "192.0.2.1", "203.0.113.1", "8.8.8.8", "169.253.255.255",
			"169.255.0.1", "::ffff:10.0.0.1", "2001:db8::1", "fd12::1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "64:ff9b:1:a00:0:100::", "64:ff9b::8.8.8.8", "2002:808:808::1", "168.63.129.17", "240.0.0.1",
		},
	} {
		for _, s := range addresses {
			err := netpolicy.Never(netip.MustParseAddr(s))
			if why == "" && err != nil || why != "" && !errors.Is(err, why) {
				t.Errorf("%s: %v, want %q", s, err, string(why))
			}
		}
	}
	if netpolicy.Never(netip.Addr{}) == nil {
		t.Error("no address is one that may be dialled")
	}
}

func policy(t *testing.T, networks []string, own ...string) *netpolicy.Policy {
	t.Helper()
	parsed, err := netpolicy.ParseNetworks(networks)
	if err != nil {
		t.Fatal(err)
	}
	return netpolicy.New(netpolicy.Config{
		Networks: parsed, Listeners: func() []string { return own },
		Lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if host != "postgres" {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []netip.Addr{netip.MustParseAddr("10.9.0.7"), netip.MustParseAddr("fd09::7")}, nil
		},
	})
}

func TestNetworksOfAccounts(t *testing.T) {
	standard := policy(t, netpolicy.Networks)
	local := policy(t, slices.Concat(netpolicy.Networks, netpolicy.Loopback))
	translated := policy(t, []string{"64:ff9b::/96"})
	for _, row := range []struct {
		policy   *netpolicy.Policy
		address  string
		account  error
		operator error
	}{
		{standard, "10.0.0.1", nil, nil},
		{standard, "172.31.255.255", nil, nil},
		{standard, "192.168.0.1", nil, nil},
		{standard, "100.64.0.1", nil, nil},
		{standard, "fd12::1", nil, nil},
		{standard, "::ffff:10.0.0.1", nil, nil},
		{standard, "172.32.0.1", netpolicy.ErrOutside, nil},
		{standard, "203.0.113.1", netpolicy.ErrOutside, nil},
		{standard, "2001:db8::1", netpolicy.ErrOutside, nil},
		{standard, "127.0.0.1", netpolicy.ErrOutside, nil},
		{standard, "::1", netpolicy.ErrOutside, nil},
		{standard, "::ffff:127.0.0.1", netpolicy.ErrOutside, nil},
		{standard, "64:ff9b::10.0.0.1", netpolicy.ErrOutside, nil},
		{standard, "100.100.100.200", netpolicy.ErrLinkLocal, netpolicy.ErrLinkLocal},
		{standard, "fd00:ec2::254", netpolicy.ErrLinkLocal, netpolicy.ErrLinkLocal},
		{standard, "fd12::5efe:169.254.169.254", netpolicy.ErrLinkLocal, netpolicy.ErrLinkLocal},
		{local, "127.0.0.1", nil, nil},
		{local, "::1", nil, nil},
		{local, "::ffff:127.0.0.1", nil, nil},
		{translated, "64:ff9b::203.0.113.1", nil, nil},
		{translated, "64:ff9b::169.254.169.254", netpolicy.ErrLinkLocal, netpolicy.ErrLinkLocal},
		{translated, "10.0.0.1", netpolicy.ErrOutside, nil},
	} {
		a := netip.MustParseAddr(row.address)
		if err := row.policy.Addr(netpolicy.Account, a); !errors.Is(err, row.account) {
			t.Errorf("%s of an account: %v, want %v", row.address, err, row.account)
		}
		if err := row.policy.Addr(netpolicy.Operator, a); !errors.Is(err, row.operator) {
			t.Errorf("%s of an operator: %v, want %v", row.address, err, row.operator)
		}
	}
}

func TestTheMeshIsNotDialled(t *testing.T) {
	p := policy(t, slices.Concat(netpolicy.Networks, netpolicy.Loopback, []string{"64:ff9b::/96"}),
		"127.0.0.1:8080", "0.0.0.0:9090", "10.9.0.1:4222", "[fd09::1]:4222", "postgres:5432", "gone.test:1", "/run/x.sock", ":9100")
	own := localAddress(t)
	for address, refused := range map[string]bool{
		"127.0.0.1:8080": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:8080": true, "127.0.0.1:8081": false,
		"127.0.0.1:9090": true, "127.7.7.7:9090": true, "[::1]:9090": true, net.JoinHostPort(own, "9090"): true, "10.9.0.1:9090": false,
		"127.0.0.1:9100": true, net.JoinHostPort(own, "9100"): true, "10.9.0.1:4222": true, "[::ffff:10.9.0.1]:4222": true, "[64:ff9b::10.9.0.1]:4222": true,
		"10.9.0.1:4223": false, "[fd09::1]:4222": true, "10.9.0.7:5432": true, "[fd09::7]:5432": true, "10.9.0.7:5433": false, "10.9.0.8:5432": false,
	} {
		for _, class := range []netpolicy.Class{netpolicy.Account, netpolicy.Operator} {
			err := p.Control(class)(t.Context(), "tcp", address, nil)
			if class == netpolicy.Account && errors.Is(err, netpolicy.ErrOutside) {
				continue // this machine's own address may be a public one
			}
			if refused != errors.Is(err, netpolicy.ErrOwn) {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
	for address, want := range map[string]bool{
		"localhost:8080": true, "LOCALHOST:8080": true, "postgres:5432": true, "gone.test:1": true, "[::1]:9090": true, "10.9.0.1:4222": true,
		"localhost:8081": false, "postgres:5433": false, "other:5432": false, "nonsense": false,
	} {
		if got := p.Reserved(address); got != want {
			t.Errorf("%s is reserved: %t", address, got)
		}
	}
}

// localAddress returns an address of this machine that is not loopback, or loopback if it has no other.
func localAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr().String()
		}
	}
	return "127.0.0.1"
}

// TestDialerRefusesBeforeItConnects checks that a refused address gets no connection.
func TestDialerRefusesBeforeItConnects(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var taken atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			_ = conn.Close()
		}
	}()
	for _, row := range []struct {
		networks []string
		class    netpolicy.Class
		refused  bool
	}{
		{netpolicy.Loopback, netpolicy.Account, false},
		{netpolicy.Networks, netpolicy.Account, true},
		{netpolicy.Networks, netpolicy.Operator, false},
	} {
		before := taken.Load()
		conn, err := policy(t, row.networks).Dialer(row.class).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err == nil {
			_ = conn.Close()
			for taken.Load() == before { // the next row counts anew
				time.Sleep(time.Millisecond)
			}
		}
		if row.refused != errors.Is(err, netpolicy.ErrOutside) || row.refused && taken.Load() != before {
			t.Errorf("%v, class %d: %v", row.networks, row.class, err)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	if _, err := netpolicy.ParseNetworks([]string{"10.0.0.0/8", " fd00::/8"}); err != nil {
		t.Error(err)
	}
	_, err := netpolicy.ParseNetworks([]string{"10.0.0.1", "all", "10.0.0.0/33", "::ffff:10.0.0.0/104", "10.0.0.0/8"})
	if err == nil || strings.Count(err.Error(), "MICRO_INSTANCE_NETWORKS holds") != 4 {
		t.Errorf("got %v", err)
	}
}

// FuzzNever checks that each spelling of an IPv4 address in IPv6 is refused if the address is.
func FuzzNever(f *testing.F) {
	f.Add([]byte{169, 254, 169, 254})
	f.Add([]byte{100, 100, 100, 200})
	f.Add([]byte{10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		v4, ok := netip.AddrFromSlice(b)
		if !ok || !v4.Is4() || netpolicy.Never(v4) == nil {
			return
		}
		for _, prefix := range []string{"::", "::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::", "fd12::5efe:"} {
			if a := netip.MustParseAddr(prefix + v4.String()); netpolicy.Never(a) == nil {
				t.Errorf("%s is not refused", a)
			}
		}
	})
}
