package handler

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"micromesh/gateway/http1"
	"micromesh/gateway/http1/wire"
	"micromesh/pkg/ident"
)

// Preflights name what browsers send of themselves. Their answer allows it to configured origins (Fetch, section 3.2.2).
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsHeaders = "Authorization, Content-Type, Mesh-Api-Version, X-Request-Id"
	corsMaxAge  = "600" // seconds
)

var originForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[!-.0->A-~]+$`)

// CheckOrigin reports why an origin can't be one that a browser sends, or nil. Browsers write origins in one form (RFC 6454, section 6.2).
func CheckOrigin(origin string) error {
	scheme, host, _ := strings.Cut(origin, "://")
	switch {
	case origin == "null":
		return errors.New("is the origin of every page in a sandbox; list the origins of your pages")
	case origin == "*":
		return errors.New("would allow every page; list the origins of your pages")
	case !originForm.MatchString(origin) || strings.ContainsAny(host, "?#@*"):
		return errors.New("must be scheme://host[:port], such as https://app.example.com")
	case scheme == "file":
		return errors.New("never matches: pages of files have the origin null")
	case scheme != "http" && scheme != "https":
		return nil // the host is what the browser or the framework makes of it
	}
	canonical, err := ident.Host(host)
	if err != nil {
		return err
	}
	usual := map[string]string{"http": ":80", "https": ":443"}[scheme]
	if canonical = strings.TrimSuffix(canonical, usual); canonical != host {
		return fmt.Errorf("never matches: browsers write %s://%s", scheme, canonical)
	}
	return nil
}

// cors lets pages of configured origins read the answer, whoever makes it. It reports whether the request comes from such a page.
func (g *Gateway) cors(x *http1.Exchange) bool {
	if len(g.cfg.CORS) == 0 {
		return false
	}
	h := x.Header()
	h.Add("Vary", "Origin")
	origin := x.Get("origin")
	i := slices.IndexFunc(g.cfg.CORS, func(o string) bool { return o == string(origin) })
	if i < 0 {
		return false
	}
	h.Set("Access-Control-Allow-Origin", g.cfg.CORS[i])
	if g.cfg.CORSCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// isPreflight reports whether a browser asks what a page may send. It carries no credentials, ever.
func isPreflight(x *http1.Exchange) bool {
	return string(x.Method()) == http.MethodOptions && x.Get("origin") != nil && x.Get("access-control-request-method") != nil
}

// options answers OPTIONS itself: 200, and to a configured origin what its pages may send.
func (g *Gateway) options(x *http1.Exchange) {
	h := x.Header()
	if isPreflight(x) && h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", with(corsMethods, x.Get("access-control-request-method")))
		h.Set("Access-Control-Allow-Headers", with(corsHeaders, x.Get("access-control-request-headers")))
		h.Set("Access-Control-Max-Age", corsMaxAge)
	}
	x.Respond(http.StatusOK, "", nil)
}

// with adds to a list of names those that are asked for and not in it.
func with(list string, asked []byte) string {
	names := strings.Split(list, ", ")
	for name := range strings.SplitSeq(string(asked), ",") {
		name = strings.TrimSpace(name)
		if name != "" && wire.IsToken([]byte(name)) && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
