package routing

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"micromesh/pkg/netpolicy"
)

// URL is where an instance listens, or a route leads: in its one canonical form, so that two spellings of an address
// are one instance.
type URL struct {
	Scheme string // http, https or grpc
	Host   string // lower case; an IPv6 address without brackets
	Port   int
	Path   string // "" or "/a/b"
}

const longestURL = 2048

var defaultPorts = map[string]int{"http": 80, "https": 443}

// String is the canonical spelling: lower case, the port always there, no slash at the end.
func (u URL) String() string {
	return u.Scheme + "://" + u.HostPort() + u.Path
}

// HostPort is the address to dial.
func (u URL) HostPort() string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

// Place returns a host and port in a form in which two spellings of one address are equal. All addresses of loopback are one.
func Place(hostPort string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return hostPort
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback():
		host = "localhost"
	case err == nil:
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, port)
}

// ParseURL reads a URL and refuses what no instance may be: other schemes, addresses of clouds' metadata services and
// whatever else is not one unicast host, spellings of addresses that programs read differently, user information,
// queries, fragments. The error says what is wrong, for the caller.
func ParseURL(raw string, schemes ...string) (URL, error) {
	if raw == "" {
		return URL{}, errors.New("is required")
	}
	if len(raw) > longestURL {
		return URL{}, fmt.Errorf("is longer than %d bytes", longestURL)
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f || strings.IndexByte(`\"<>^`+"`{|}", raw[i]) >= 0 {
			return URL{}, errors.New("holds characters that no URL has")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return URL{}, errors.New("is not a URL, such as http://127.0.0.1:9000")
	}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case !slices.Contains(schemes, scheme):
		return URL{}, fmt.Errorf("must begin with %s://", strings.Join(schemes, ":// or "))
	case u.Opaque != "" || u.Host == "":
		return URL{}, errors.New("names no host")
	case u.User != nil:
		return URL{}, errors.New("must not hold a user or a password")
	case strings.ContainsAny(raw, "?#"):
		return URL{}, errors.New("must not hold a query or a fragment")
	}
	out := URL{Scheme: scheme}
	if out.Host, err = ParseHost(u.Hostname()); err != nil {
		return URL{}, err
	}
	if out.Port, err = parsePort(scheme, u); err != nil {
		return URL{}, err
	}
	out.Path, err = ParsePath(u.EscapedPath())
	return out, err
}

func parsePort(scheme string, u *url.URL) (int, error) {
	s := u.Port()
	if s == "" {
		if port, ok := defaultPorts[scheme]; ok && !strings.HasSuffix(u.Host, ":") {
			return port, nil
		}
		return 0, errors.New("names no port")
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != s {
		return 0, errors.New("has a port that is none: it must be 1 to 65535")
	}
	return n, nil
}

// ParseHost reads a host: a DNS name in ASCII, or an address. It gives the canonical spelling.
func ParseHost(host string) (string, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if a, err := netip.ParseAddr(host); err == nil {
		if err := netpolicy.Never(a); err != nil {
			return "", err
		}
		return a.Unmap().String(), nil
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	// A name that ends in a number is an address in a spelling that only some programs understand: 0x7f.1, 2130706433.
	if last == "" || isNumber(last) {
		return "", errors.New("has a host that is neither a name nor an address in its usual spelling")
	}
	if len(host) > 253 {
		return "", errors.New("has a host that is longer than 253 characters")
	}
	for _, l := range labels {
		if !isLabel(l) {
			return "", errors.New("has a host that is no DNS name: use letters, digits and hyphens")
		}
	}
	if last == "internal" && labels[0] == "metadata" || host == "metadata" {
		return "", errors.New("names a metadata service, which nothing may be forwarded to")
	}
	return host, nil
}

func isNumber(s string) bool {
	if _, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64); err == nil && strings.HasPrefix(s, "0x") {
		return true
	}
	return strings.Trim(s, "0123456789") == "" || s == "0x"
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// ParsePath reads a path that stands in front of others: no dot segments in any spelling, no empty segments, no slash
// at its end.
func ParsePath(escaped string) (string, error) {
	path := strings.TrimRight(escaped, "/")
	if path == "" {
		return "", nil
	}
	if path[0] != '/' || strings.Contains(path, "//") {
		return "", errors.New("has a path with empty segments")
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return "", errors.New("has a path with bad percent-encoding")
	}
	if strings.ContainsAny(plain, "\\\x00\r\n") {
		return "", errors.New("has a path with characters that no path may have")
	}
	for _, seg := range strings.Split(plain, "/")[1:] {
		if seg == "." || seg == ".." {
			return "", errors.New("has a path with dot segments")
		}
	}
	return path, nil
}
