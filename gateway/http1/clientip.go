package http1

import (
	"net/netip"
	"strings"

	"micromesh/gateway/http1/wire"
)

// clientIP walks X-Forwarded-For from its end, past the trusted proxies.
func (x *Exchange) clientIP() netip.Addr {
	addr := x.c.remote.Addr()
	if !x.c.trusted {
		return addr
	}
	fields := x.req.Fields
	for i := len(fields) - 1; i >= 0; i-- {
		if !wire.EqualFold(fields[i].Name, "x-forwarded-for") {
			continue
		}
		list := strings.Split(string(fields[i].Value), ",")
		for j := len(list) - 1; j >= 0; j-- {
			next, err := netip.ParseAddr(strings.TrimSpace(list[j]))
			if err != nil {
				return addr // whoever is before that can't be known
			}
			addr = next.Unmap().WithZone("")
			if !x.c.srv.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}
