package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/host"
)

const (
	clockOff   = 30 * time.Second // a difference that is worth a word
	slowAnswer = time.Second
	adminRole  = "user-svc:admin"
)

// gateway tells whether a gateway answers. What is behind it is worth a look even where it says that it isn't ready.
func (d *doctor) gateway(ctx context.Context) bool {
	began := time.Now()
	p, err := d.get(ctx, "", "/readyz")
	if err != nil {
		d.unreachable(err)
		return false
	}
	took := time.Since(began)
	var says struct{ Status, Error, Code string }
	_ = json.Unmarshal(p.body, &says) // what is no JSON says nothing
	version := d.version(ctx)
	switch {
	case says.Status == "ready" && version != "":
		d.ok("gateway", "ready at %s, answers in %s", d.api.base, took.Round(time.Millisecond))
	case says.Code == "NOT_READY":
		d.say(levelFail, "gateway", "see whether NATS, user-svc and proxy-svc run: the gateway learns this from them", "not ready: %s", says.Error)
	case says.Status == "" && p.StatusCode >= http.StatusBadGateway:
		d.say(levelFail, "gateway", "see whether the gateway runs, and where the proxy looks for it", "a proxy in front of it answers %s", p.Status)
		return false
	default:
		d.say(levelFail, "gateway", "name the URL of a gateway with --server or `micro env`", "what answers at %s is no gateway of a mesh (%s)", d.api.base, p.Status)
		return false
	}
	d.compare(version)
	d.clock(p.Header.Get("Date"), began.Add(took/2))
	return true
}

// page is an answer that was read.
type page struct {
	*http.Response
	body []byte
}

// get asks the gateway as a browser does: for a host, or for its own where none is named. Redirects are not followed.
func (d *doctor) get(ctx context.Context, host, path string) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.api.base+path, nil)
	if err != nil {
		return page{}, err
	}
	req.Host = host
	client := *d.api.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	rsp, err := client.Do(req)
	if err != nil {
		return page{}, err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(rsp.Body, 64<<10))
	return page{rsp, body}, err
}

// unreachable says why nothing answered, as far as that can be told.
func (d *doctor) unreachable(err error) {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	dns, noName := errors.AsType[*net.DNSError](err)
	op, network := errors.AsType[*net.OpError](err)
	slow, ok := errors.AsType[net.Error](err)
	switch {
	case noName:
		d.say(levelFail, "gateway", "look at the URL: --server, MICRO_SERVER or `micro env`", "there is no host %s", dns.Name)
	case ok && slow.Timeout():
		d.say(levelFail, "gateway", "see whether a firewall is between, and whether its machine is overloaded", "no answer from %s in %s", d.api.base, patience)
	case network && op.Op == "dial":
		d.say(levelFail, "gateway", "start a mesh with `micro up`, or name another with --server", "nothing listens at %s", d.api.base)
	default:
		d.say(levelFail, "gateway", "name the URL of a gateway with --server or `micro env`", "what listens at %s doesn't answer as a gateway does: %s", d.api.base, err)
	}
}

// version is that of the document that every gateway has; empty where there is none.
func (d *doctor) version(ctx context.Context) string {
	var doc struct{ Info struct{ Version string } }
	if err := d.api.send(ctx, http.MethodGet, "/openapi.json", "", nil, &doc); err != nil {
		return "" // then it is no gateway, or goes away right now
	}
	return doc.Info.Version
}

func (d *doctor) compare(version string) {
	if version == host.Version {
		d.ok("version", "%s, as this command line", version)
	} else if version != "" {
		d.say(levelWarn, "version", "use the command line of the mesh's version", "the mesh is %s, this command line %s", version, host.Version)
	}
}

// clock compares the gateway's clock with this machine's. The header (RFC 9110, 6.6.1) counts whole seconds.
func (d *doctor) clock(date string, now time.Time) {
	t, err := http.ParseTime(date)
	if err != nil {
		d.say(levelWarn, "clock", "see what a proxy in front takes away", "the gateway doesn't tell the time")
		return
	}
	off := t.Sub(now).Round(time.Second)
	if off.Abs() > clockOff {
		d.say(levelWarn, "clock", "synchronize both clocks: tokens begin and end by them", "the gateway's differs from this machine's by %s", off)
		return
	}
	d.ok("clock", "within %s of this machine's", max(off.Abs(), time.Second))
}

// service makes a call that everybody may make.
func (d *doctor) service(ctx context.Context, slug, path string) bool {
	return d.called(slug, func() error { return d.api.send(ctx, http.MethodGet, path, "", nil, nil) })
}

// called says how a call to a service went, and tells whether it was answered.
func (d *doctor) called(slug string, call func() error) bool {
	began := time.Now()
	err := call()
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case err != nil:
		d.say(levelFail, slug, "see whether a process of it runs, what its /readyz says, and its log", "a call fails after %s: %s", took, err)
		return false
	case took > slowAnswer:
		d.say(levelWarn, slug, "look at the load of its machine and of its database", "answers in %s", took)
	default:
		d.ok(slug, "answers in %s", took)
	}
	return true
}

// signIn tells whether the sign-in is good.
func (d *doctor) signIn(ctx context.Context) bool {
	if d.api.bearer(ctx) == "" {
		d.say(levelWarn, "sign-in", "micro login <slug>, best an admin's", "nobody is signed in: what needs a sign-in is not looked at")
		return false
	}
	var self struct {
		User  struct{ Slug string }
		Roles []string
	}
	err := d.api.do(ctx, http.MethodPost, "/user-svc/self", map[string]any{}, &self)
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind == errs.Unauthenticated {
		d.say(levelFail, "sign-in", strings.TrimSpace("micro login "+d.api.env.Slug), "no longer good: %s", e.Message)
		return false
	}
	if err != nil {
		d.say(levelFail, "sign-in", "look at the log of user-svc", "can't be checked: %s", err)
		return false
	}
	d.admin = slices.Contains(self.Roles, adminRole)
	if d.admin {
		d.ok("sign-in", "%s, an admin", self.User.Slug)
	} else {
		d.say(levelWarn, "sign-in", "micro login <an admin's slug>", "%s is no admin: only its own instances are looked at, and neither nodes nor routes", self.User.Slug)
	}
	return true
}
