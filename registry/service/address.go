package service

import (
	"net"
	"net/netip"
	"slices"
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

// parseHealthPath reads the path of a health check.
func parseHealthPath(p string) (string, error) {
	if p == "" {
		return "", nil
	}
	if len(p) > 1024 || p[0] != '/' || strings.HasPrefix(p, "//") {
		return "", errs.Field("healthPath", "path", "must begin with one / and have at most 1024 bytes")
	}
	for i := range len(p) {
		switch {
		case p[i] == '?' || p[i] == '#':
			return "", errs.Field("healthPath", "path", "must be a path alone, without a query or a fragment")
		case p[i] <= ' ' || p[i] >= 0x7f || p[i] == '\\':
			return "", errs.Field("healthPath", "path", "holds characters that no path has")
		}
	}
	if _, err := routing.ParsePath(p); err != nil {
		return "", errs.Field("healthPath", "path", "%s", err)
	}
	return p, nil
}

// free refuses an address that could never be dialled: one outside of the networks of instances, or one of the mesh itself, where
// forwarding would go round in circles or let callers pass as the mesh.
func (s *Service) free(u routing.URL) error {
	host := u.Host
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if err := s.network.Addr(a); err != nil {
			return errs.Field("url", "network", "%s", err)
		}
	}
	if s.network.Reserved(u.HostPort()) {
		return errs.Field("url", "reserved", "is an address of the mesh itself")
	}
	if _, m := s.fleet.find("", u); m != nil {
		return nil // a service that names the address later doesn't take it away
	}
	for _, n := range s.nodes.RPCNodes() {
		if n.Address == u.HostPort() || !n.Foreign && slices.Contains(strings.Split(n.Metadata["addresses"], ","), u.HostPort()) {
			return errs.Field("url", "reserved", "is an address of the service %s", n.Service)
		}
	}
	return nil
}

// Taken returns the slugs that programs which are no part of the mesh may not have: those with registered instances or RPC nodes.
func (s *Service) Taken() map[string]bool {
	slugs := map[string]bool{}
	for _, m := range s.fleet.all() {
		slugs[m.current.Load().Slug] = true
	}
	for _, n := range s.nodes.RPCNodes() {
		if !n.Foreign {
			slugs[n.Service] = true
		}
	}
	return slugs
}
