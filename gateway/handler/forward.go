package handler

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"micromesh/gateway/http1"
	"micromesh/gateway/http1/wire"
	"micromesh/gateway/service"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
)

const (
	maxTries    = 3 // instances that one request is tried on
	headerHops  = "X-Mesh-Hops"
	headerRoles = "X-Roles"
	maxHops     = 5 // gateways that one request may pass: more is a loop
)

// forward sends the request to one of a group's instances, and to another where the first one failed and the request
// may be sent again. It tells whether the client has got the whole of an instance's answer, which is recorded where rec is not nil.
func (g *Gateway) forward(x *http1.Exchange, group *service.Group, rec http1.Recorder) (whole bool) {
	hops, ok := g.hop(x)
	if !ok {
		x.Fail(http.StatusLoopDetected, "LOOP_DETECTED", "the request passed this mesh "+strconv.Itoa(maxHops)+" times: a service forwards to itself")
		return false
	}
	if x.IsUpgrade() && !g.ownOrigin(x) {
		x.Fail(http.StatusForbidden, "FOREIGN_ORIGIN", "pages of another origin may not open a connection here")
		return false
	}
	caller, err := g.identify(x, hops, group.Name)
	if err != nil {
		g.fail(x, err)
		return false
	}
	x.SetBodyLimit(g.cfg.MaxBody)
	var (
		room  [maxTries]*service.Backend
		tried = room[:0]
		out   http1.Outcome
	)
	group.Count(time.Now())
	for len(tried) < maxTries {
		now := time.Now()
		b, err := pick(group, now, tried, out.Abandoned)
		if err != nil {
			break
		}
		if len(tried) > 0 {
			if !out.Abandoned && !group.Retry() {
				break
			}
			g.metrics.retries.Inc()
		}
		tried = append(tried, b)
		b.Begin(now)
		o := g.forwardOptions(x, caller)
		o.Record, o.Caller = rec, caller
		if len(tried) < maxTries {
			o.Watch = b
		}
		out = g.cfg.Forward.Forward(x, targetOf(b), o)
		b.Done(verdict(&out), out.FirstByte, time.Now())
		if !out.Retryable {
			break
		}
	}
	g.conclude(x, group, tried, &out)
	return len(tried) > 0 && out.Result == http1.Answered
}

// pick chooses who gets the request next.
func pick(group *service.Group, now time.Time, tried []*service.Backend, abandoned bool) (*service.Backend, error) {
	if abandoned {
		if b, err := group.Elsewhere(now, tried[len(tried)-1]); err == nil {
			return b, nil
		}
	}
	return group.Pick(now, tried)
}

// ownOrigin reports whether a page that asks for an upgrade is of this host, or of an origin that is configured. A browser
// lets any page open a WebSocket, with the user's cookies. Other clients send no Origin.
func (g *Gateway) ownOrigin(x *http1.Exchange) bool {
	for _, f := range x.Fields() {
		if !wire.EqualFold(f.Name, "origin") || len(f.Value) == 0 || slices.Contains(g.cfg.CORS, string(f.Value)) {
			continue
		}
		_, host, ok := strings.Cut(string(f.Value), "://")
		if !ok || !strings.EqualFold(host, string(x.Host())) {
			return false
		}
	}
	return true
}

func targetOf(b *service.Backend) http1.Target {
	return http1.Target{Address: b.Address, TLS: b.TLS, ServerName: b.ServerName, Host: b.Host, Operator: b.Operator, PathPrefix: b.Prefix}
}

func (g *Gateway) forwardOptions(x *http1.Exchange, caller string) http1.ForwardOptions {
	o := http1.ForwardOptions{HeaderTimeout: g.cfg.WaitHeaders}
	switch {
	case caller == "":
	case x.IsUpgrade():
		o.KeepTunnel = func() bool { return g.mayGoOn(x) }
	default:
		o.KeepStream = g.keep
	}
	return o
}

// mayGoOn reports whether the caller of a request that goes on may still make it. A tunnel and a long answer outlive their request, but
// neither the token that they were opened with, nor a role that the instance has received, nor the guard of their path.
func (g *Gateway) mayGoOn(x *http1.Exchange) bool {
	c, err := g.caller(x)
	if err != nil || x.UpstreamHeader().Get(headerRoles) != c.RoleList() {
		return false
	}
	set := g.cfg.Routes.set()
	if set == noRoutes {
		return true
	}
	d, err := set.table.Decide(string(x.Method()), string(x.Path()))
	return err == nil && (d.Guard == nil || g.scoped(x, d.Guard) == nil)
}

// hop counts the gateways that the request has passed.
func (g *Gateway) hop(x *http1.Exchange) (string, bool) {
	n := 0
	if v := x.Get("x-mesh-hops"); len(v) > 0 {
		var err error
		if n, err = strconv.Atoi(string(v)); err != nil || n < 0 {
			n = 0
		}
	}
	if n+1 >= maxHops {
		return "", false
	}
	return hopNames[n+1], true
}

var hopNames = [maxHops]string{"0", "1", "2", "3", "4"}

// identify sets what the instance is told beside the client's own header: who calls, where the token is valid, and
// what ties the request to others. What a client sends under these names never arrives. It returns the caller's id, or
// nothing for an anonymous caller.
//
// Errors: NotAMember if the caller asks to act for an organization of others.
func (g *Gateway) identify(x *http1.Exchange, hops, slug string) (caller string, err error) {
	h := x.UpstreamHeader() // empty as yet: each name is added once
	h.Add(headerRequestID, requestID(x))
	h.Add("Traceparent", traceparent(x))
	h.Add(headerHops, hops)
	token := auth.Bearer(view(x.Get("authorization")))
	if token == "" {
		g.replaceToken(x, nil, view(x.Get("authorization")), slug)
		return "", nil
	}
	c := g.verified(token)
	if c == nil {
		g.replaceToken(x, nil, token, slug)
		return "", nil
	}
	h.Add("X-User-ID", c.UserID)
	h.Add("X-User-Slug", c.Slug)
	organization, err := actsFor(x, c)
	if err != nil {
		return "", err
	}
	if organization != "" {
		h.Add("X-Org-ID", organization)
	}
	h.Add(headerRoles, c.RoleList())
	g.replaceToken(x, c, token, slug)
	return c.UserID, nil
}

// verified returns the claims of a token, or nil if it is not valid. A service that receives such a token refuses it itself.
func (g *Gateway) verified(token string) *auth.Claims {
	c, err := g.cfg.Verifier.Verify(token) // which copies it
	if err != nil {
		return nil
	}
	return c
}

// errNotMember is NotAMember: a request names an organization that its caller is not in.
var errNotMember = errs.New(errs.Forbidden, "NOT_A_MEMBER", "X-Org-ID must be the id of one organization that you are a member of")

// actsFor returns the organization that a request is made for: the one that the caller names in X-Org-ID, or else the active one of the
// token.
func actsFor(x *http1.Exchange, c *auth.Claims) (string, error) {
	named := false
	var organization string
	for _, f := range x.Fields() {
		if !wire.EqualFold(f.Name, "x-org-id") {
			continue
		}
		role := slices.IndexFunc(c.Roles, func(role string) bool {
			id, ok := ident.OrganizationOf(role)
			return ok && id == view(f.Value)
		})
		if role < 0 || named {
			return "", errNotMember
		}
		named = true
		organization, _ = ident.OrganizationOf(c.Roles[role])
	}
	if named {
		return organization, nil
	}
	return c.ActiveOrg, nil
}

// view is a piece of a request as text, without a copy: only for what does not outlive the request. A token has about
// a kilobyte, and every request of a signed-in caller carries one.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // as said above
}

// verdict is what an outcome says about the instance. What the client did wrong says nothing.
func verdict(o *http1.Outcome) service.Outcome {
	switch o.Result { //nolint:exhaustive // the others are the instance's failures
	case http1.Answered, http1.BadRequest, http1.ClientGone:
		if o.Status == http.StatusBadGateway || o.Status == http.StatusServiceUnavailable || o.Status == http.StatusGatewayTimeout {
			return service.Refused
		}
		if o.Result == http1.Answered {
			return service.Answered
		}
		return service.Unclear
	case http1.TimedOut:
		return service.Silent
	}
	return service.Failed
}

// conclude answers where no instance has.
func (g *Gateway) conclude(x *http1.Exchange, group *service.Group, tried []*service.Backend, out *http1.Outcome) {
	if len(tried) == 0 {
		g.away(x, group.Name)
		return
	}
	switch out.Result {
	case http1.Answered, http1.ClientGone:
		return
	case http1.BadRequest:
		x.Refuse(out.Err)
		return
	case http1.TimedOut:
		x.Fail(http.StatusGatewayTimeout, "UPSTREAM_TIMEOUT", "the service did not answer in time")
	case http1.ConnectFailed:
		x.Fail(http.StatusBadGateway, "UPSTREAM_UNREACHABLE", "the service can't be reached")
	case http1.Closed, http1.BadAnswer:
		x.Fail(http.StatusBadGateway, "UPSTREAM_FAILED", "the service gave no proper answer")
	case http1.Broken:
	}
	last := tried[len(tried)-1]
	g.cfg.Logger.Warn("forward_failed", "slug", last.Slug, "instance", last.ID, "result", out.Result.String(), "error", out.Err,
		"tries", len(tried), "request_id", requestID(x))
}
