package routes

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"micromesh/pkg/netpolicy"
)

// upstreams says what an upstream may be.
const upstreams = "a URL such as http://127.0.0.1:9001, a variable such as $WIDGETS_URL or ${WIDGETS_URL:-http://127.0.0.1:9001}, a slug such as widgets-svc, or a method such as widgets-svc/WidgetService.Read"

var (
	variable   = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})$`)
	slugForm   = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)
	ownerForm  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`) // an account
	methodForm = regexp.MustCompile(`^([A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*)/([A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*)$`)
)

func (p *parser) upstream(n *yaml.Node) Upstream {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		p.mistake(n, "proxy_upstream must be %s", upstreams)
		return Upstream{}
	}
	text, ok := p.expand(n)
	if !ok {
		return Upstream{}
	}
	if m := methodForm.FindStringSubmatch(text); m != nil {
		return Upstream{Kind: RPC, Service: m[1], Endpoint: m[2]}
	}
	if strings.Contains(text, "://") {
		if why := unfit(text); why != "" {
			p.mistake(n, "proxy_upstream: %s", why)
		}
		return Upstream{Kind: URL, URL: strings.TrimSuffix(text, "/")}
	}
	if !slugForm.MatchString(text) {
		p.mistake(n, "proxy_upstream is %q; it must be %s", n.Value, upstreams)
	}
	return Upstream{Kind: Slug, Service: text}
}

// expand puts the environment's value in place of a variable.
func (p *parser) expand(n *yaml.Node) (string, bool) {
	if !strings.Contains(n.Value, "$") {
		return n.Value, true
	}
	m := variable.FindStringSubmatch(n.Value)
	if m == nil {
		p.mistake(n, "proxy_upstream is %q; a variable is the whole of it: $NAME or ${NAME:-otherwise}", n.Value)
		return "", false
	}
	name, otherwise := m[1]+m[2], m[3]
	if v, ok := p.env(name); ok && v != "" {
		return v, true
	}
	if otherwise == "" {
		p.mistake(n, "proxy_upstream: the variable %s is not set; set it, or say what holds otherwise: ${%s:-http://127.0.0.1:9001}", name, name)
		return "", false
	}
	return otherwise, true
}

// unfit tells why a URL can't be an upstream. It names no part of it but the scheme: variables may hold passwords.
func unfit(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		return "it is not a URL; " + "it must be like http://127.0.0.1:9001"
	case u.Scheme != "http" && u.Scheme != "https":
		return "the scheme " + u.Scheme + " can't be forwarded to; it must be http or https"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "a URL with a user, a query or a fragment can't be forwarded to; leave them out"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := netpolicy.Never(ip); err != nil {
			return "its host " + err.Error()
		}
	}
	return ""
}
