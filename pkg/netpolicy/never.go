package netpolicy

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// RefusalError is the error of an address that may not be dialled. Its text completes a sentence that begins with the name of the
// field or the setting, and does not repeat the address.
type RefusalError string

// Error implements error.
func (r RefusalError) Error() string { return string(r) }

// The reasons.
const (
	ErrLinkLocal  RefusalError = "is a link-local address or a metadata service, which nothing may be forwarded to"
	ErrNotOneHost RefusalError = "is not the address of one host"
	ErrZoned      RefusalError = "has an address with a zone"
	ErrOwn        RefusalError = "is an address of the mesh itself"
	ErrOutside    RefusalError = "is an address outside of MICRO_INSTANCE_NETWORKS, the networks that instances may be in"
)

// metadata are the addresses, beyond link-local ones, where clouds offer credentials or control of a machine to anyone who can connect.
var metadata = prefixes(
	"fd00:ec2::/32",         // AWS: metadata, credentials of pods, time, names
	"fd20:ce::254/128",      // Google Cloud
	"fd00:c1::/32",          // Oracle Cloud: fd00:c1::a9fe:a9fe
	"fd00:42::42/128",       // Scaleway
	"fd00:a9fe:a9fe::1/128", // Akamai (Linode)
	"100.100.100.200/32",    // Alibaba Cloud
	"168.63.129.16/32",      // Azure
	"192.0.0.192/32",        // Oracle Cloud, classic
)

// manyHosts are addresses that don't belong to one host.
var manyHosts = prefixes("0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8")

// linkLocal are addresses of the link. Most clouds' metadata services are among them.
var linkLocal = prefixes("169.254.0.0/16", "fe80::/10")

func prefixes(text ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(text))
	for i, s := range text {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Never returns the reason why nothing may connect to an address, whoever named it, or nil. Private and loopback addresses are
// fine: services run there. An IPv6 address that stands for an IPv4 one is judged by both.
func Never(a netip.Addr) error {
	zone := a.Zone()
	a = a.Unmap().WithZone("")
	switch {
	case within(a, linkLocal), within(a, metadata):
		return ErrLinkLocal
	case zone != "":
		return ErrZoned
	case !a.IsValid():
		return ErrNotOneHost
	case within(a, manyHosts):
		return ErrNotOneHost
	case a.Is4() || a.IsLoopback():
		return nil
	}
	for v4, sure := range embedded(a) {
		err := Never(v4)
		if err == nil && v4.IsLoopback() {
			err = ErrNotOneHost // it leads back to whatever translates it
		}
		if err != nil && (sure || err == ErrLinkLocal) { //nolint:errorlint // Never doesn't wrap
			return err
		}
	}
	return nil
}

// embeddings are the prefixes of IPv6 addresses that stand for IPv4 ones, with the places where those begin, in bytes. A site's
// NAT64 prefix has any of some lengths, so that not each of the places holds an address.
var embeddings = []struct {
	prefix netip.Prefix
	sure   bool
	at     []int
}{
	{netip.MustParsePrefix("::/96"), true, []int{12}},                // IPv4-compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), true, []int{12}},      // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), true, []int{12}},         // NAT64 (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/96"), true, []int{12}},       // NAT64 of a site (RFC 8215)
	{netip.MustParsePrefix("64:ff9b:1::/48"), false, []int{6, 7, 9}}, // the same, prefixes of 48, 56 and 64 bits
	{netip.MustParsePrefix("64:ff9b:1::/48"), false, []int{12}},      // and of 96 bits
	{netip.MustParsePrefix("2002::/16"), true, []int{2}},             // 6to4 (RFC 3056)
	{teredo, true, []int{4}},                                         // Teredo's server (RFC 4380)
}

var teredo = netip.MustParsePrefix("2001::/32")

// reservedOctet is the byte that RFC 6052 leaves out of an embedded address.
const reservedOctet = 8

// embedded yields the IPv4 addresses that an IPv6 address stands for, and whether it certainly does.
func embedded(a netip.Addr) iter.Seq2[netip.Addr, bool] {
	b := a.As16()
	return func(yield func(netip.Addr, bool) bool) {
		for _, e := range embeddings {
			if !e.prefix.Contains(a) {
				continue
			}
			for _, at := range e.at {
				var v4 [4]byte
				for i := range v4 {
					if at == reservedOctet {
						at++
					}
					v4[i] = b[at]
					at++
				}
				if !yield(netip.AddrFrom4(v4), e.sure) {
					return
				}
			}
		}
		if teredo.Contains(a) { // its client, inverted
			var v4 [4]byte
			binary.BigEndian.PutUint32(v4[:], ^binary.BigEndian.Uint32(b[12:]))
			if !yield(netip.AddrFrom4(v4), false) {
				return
			}
		}
		if iid := binary.BigEndian.Uint32(b[8:]); iid&^0x02000000 == 0x00005efe { // ISATAP (RFC 5214)
			yield(netip.AddrFrom4([4]byte(b[12:])), true)
		}
	}
}
