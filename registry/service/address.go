package service

import (
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
)

// Address is where an instance listens, as a registration says it: URL, or the parts, or both where they agree.
type Address struct {
	URL, Scheme, Host, IP, Path string
	Port                        int32
}

// ParseURL reads the URL of an instance.
func ParseURL(raw string) (routing.URL, error) { return routing.ParseURL(raw, "http", "https") }

// parse gives the canonical URL, and the host and address that go with it.
func (a Address) parse() (u routing.URL, host, ip string, err error) {
	host, err = optionalHost("host", a.Host)
	if err != nil {
		return u, "", "", err
	}
	if ip, err = optionalHost("ip", a.IP); err != nil {
		return u, "", "", err
	}
	if _, perr := netip.ParseAddr(ip); ip != "" && perr != nil {
		return u, "", "", errs.Field("ip", "ip", "is no IP address")
	}
	raw := a.URL
	if raw == "" {
		if raw, err = a.assemble(); err != nil {
			return u, "", "", err
		}
	}
	if u, err = ParseURL(raw); err != nil {
		return u, "", "", errs.Field("url", "url", "%s", err)
	}
	if a.URL != "" {
		if err := a.agrees(u, host, ip); err != nil {
			return u, "", "", err
		}
	}
	if _, err := netip.ParseAddr(u.Host); err == nil {
		return u, host, u.Host, nil
	}
	return u, u.Host, ip, nil
}

func optionalHost(field, v string) (string, error) {
	if v == "" {
		return "", nil
	}
	h, err := routing.ParseHost(strings.Trim(v, "[]"))
	if err != nil {
		return "", errs.Field(field, "host", "%s", err)
	}
	return h, nil
}

// assemble makes a URL of the parts.
func (a Address) assemble() (string, error) {
	host := a.Host
	if host == "" {
		host = a.IP
	}
	if host == "" || a.Scheme == "" {
		return "", errs.Field("url", "required", "is required: say url, or scheme, host or ip, port and path")
	}
	if a.Port < 0 || a.Port > 65535 {
		return "", errs.Field("port", "range", "must be 1 to 65535")
	}
	host = strings.Trim(host, "[]")
	address := host
	if strings.Contains(host, ":") {
		address = "[" + host + "]"
	}
	if a.Port != 0 {
		address = net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
	}
	path := a.Path
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return a.Scheme + "://" + address + path, nil
}

// agrees refuses parts that contradict the URL. A URL by name may have an address beside it, and the reverse.
func (a Address) agrees(u routing.URL, host, ip string) error {
	contradicts := func(field string) error {
		return errs.Field(field, "conflict", "contradicts url: leave it out, or make both say the same")
	}
	_, err := netip.ParseAddr(u.Host)
	byAddress := err == nil
	switch {
	case a.Scheme != "" && strings.ToLower(a.Scheme) != u.Scheme:
		return contradicts("scheme")
	case a.Port != 0 && int(a.Port) != u.Port:
		return contradicts("port")
	case byAddress && ip != "" && ip != u.Host:
		return contradicts("ip")
	case !byAddress && host != "" && host != u.Host:
		return contradicts("host")
	}
	if a.Path == "" {
		return nil
	}
	path, err := routing.ParsePath("/" + strings.TrimPrefix(a.Path, "/"))
	if err != nil {
		return errs.Field("path", "path", "%s", err)
	}
	if path != u.Path {
		return contradicts("path")
	}
	return nil
}

// parseHealthPath reads the path, and possibly the query, of a health check.
func parseHealthPath(p string) (string, error) {
	if p == "" {
		return "", nil
	}
	if len(p) > 1024 || p[0] != '/' || strings.HasPrefix(p, "//") {
		return "", errs.Field("healthPath", "path", "must begin with one / and have at most 1024 bytes")
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] >= 0x7f || p[i] == '\\' || p[i] == '#' {
			return "", errs.Field("healthPath", "path", "holds characters that no path has")
		}
	}
	path, _, _ := strings.Cut(p, "?")
	if _, err := routing.ParsePath(path); err != nil {
		return "", errs.Field("healthPath", "path", "%s", err)
	}
	return p, nil
}

// reservedSet spells out the mesh's own addresses. One that listens everywhere, or on loopback, is reached by several
// names; which others this machine has, the configuration lists.
func reservedSet(addresses []string) map[string]bool {
	set := map[string]bool{}
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue // not of the network, such as a socket's file
		}
		host = strings.ToLower(host)
		set[net.JoinHostPort(host, port)] = true
		ip, err := netip.ParseAddr(host)
		if host == "" || host == "localhost" || err == nil && (ip.IsUnspecified() || ip.IsLoopback()) {
			for _, h := range []string{"localhost", "127.0.0.1", "::1"} {
				set[net.JoinHostPort(h, port)] = true
			}
		}
	}
	return set
}

// free refuses an address of the mesh itself: forwarding to it would go round in circles, or let callers pass as it.
func (s *Service) free(u routing.URL) error {
	taken := s.reserved[u.HostPort()]
	if !taken {
		for _, n := range s.nodes.RPCNodes() {
			taken = taken || n.listens(u)
		}
	}
	if taken {
		return errs.Field("url", "reserved", "is an address of the mesh itself")
	}
	return nil
}

// listens tells whether a URL leads to a node.
func (n RPCNode) listens(u routing.URL) bool {
	return reservedSet(append(n.Others, n.Address))[u.HostPort()]
}

// Taken gives what programs that are no part of the mesh may not have: the slugs of those that have registered instances or RPC nodes,
// and the addresses of the mesh itself, "host:port".
func (s *Service) Taken() (slugs, addresses map[string]bool) {
	slugs = map[string]bool{}
	for _, m := range s.fleet.all() {
		slugs[m.current.Load().Slug] = true
	}
	var own []string
	for _, n := range s.nodes.RPCNodes() {
		if n.Foreign {
			continue
		}
		slugs[n.Service] = true
		own = append(append(own, n.Others...), n.Address)
	}
	addresses = reservedSet(own)
	maps.Copy(addresses, s.reserved)
	return slugs, addresses
}
