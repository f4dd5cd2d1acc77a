package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"micromesh/pkg/errs"
	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
)

// own are the mesh's services: nobody else can have their slugs.
var own = []string{"user-svc", "registry-svc", "proxy-svc", "gateway-svc"}

// seenInstance is an instance as the registry lists it; nodes of RPC services are among them.
type seenInstance struct {
	ID, URL, Slug, Details string
	Status                 routing.Status
}

// running looks at what the registry knows of: nodes of the mesh's services, and instances.
func (d *doctor) running(ctx context.Context) {
	var list struct{ Instances []seenInstance }
	if err := d.api.do(ctx, http.MethodGet, "/registry-svc/instances", nil, &list); err != nil {
		d.say(levelFail, "instances", "look at the log of registry-svc", "can't be listed: %s", err)
		return
	}
	bySlug := map[string][]seenInstance{}
	for _, i := range list.Instances {
		bySlug[i.Slug] = append(bySlug[i.Slug], i)
	}
	if d.admin {
		for _, slug := range own {
			d.nodes(slug, bySlug[slug])
		}
	}
	for _, slug := range own {
		delete(bySlug, slug)
	}
	d.instances(bySlug)
	d.definitions(ctx, bySlug)
}

// nodes says how many processes of one of the mesh's services run.
func (d *doctor) nodes(slug string, nodes []seenInstance) {
	if len(nodes) == 0 {
		d.say(levelFail, slug, "start it, and see whether it reaches NATS", "no node is known")
		return
	}
	urls := make([]string, len(nodes))
	for i, n := range nodes {
		urls[i] = n.URL
	}
	d.ok(slug, "%s: %s", count(len(nodes), "node"), strings.Join(urls, " "))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// instances tells of those that aren't healthy, and of slugs whose requests lead nowhere.
func (d *doctor) instances(bySlug map[string][]seenInstance) {
	all, healthy := 0, 0
	for _, slug := range sortedKeys(bySlug) {
		live, outside := false, true
		for _, i := range bySlug[slug] {
			all++
			live = live || i.Status.Live()
			outside = outside && isOutside(i)
			if i.Status == routing.Healthy {
				healthy++
				continue
			}
			d.say(levelWarn, slug, adviceOn(i), "instance %s at %s is %s: %s", i.ID, i.URL, i.Status, printable(i.Details))
		}
		if !live {
			advice := "start it, and have it register: micro instance register <url>"
			if outside {
				advice = adviceOutside
			}
			d.say(levelFail, slug, advice, "none of %s is live: requests to /%s/ fail", count(len(bySlug[slug]), "instance"), slug)
		}
	}
	d.ok("instances", "%d of %d are healthy", healthy, all)
}

// isOutside reports whether the mesh refuses the address of an instance.
func isOutside(i seenInstance) bool { return strings.Contains(i.Details, string(netpolicy.ErrOutside)) }

const adviceOutside = "add its network to MICRO_INSTANCE_NETWORKS of registry and gateway"

func adviceOn(i seenInstance) string {
	if isOutside(i) {
		return adviceOutside
	}
	return adviceFor[i.Status]
}

var adviceFor = map[routing.Status]string{
	routing.Unknown:     "look again in a moment",
	routing.Degraded:    "look at its load",
	routing.Unreachable: "see whether it runs, and whether the registry's machine reaches that address",
	routing.Error:       "look at its log: its health check says that it isn't well",
}

// definitions tells of services that are defined and don't run.
func (d *doctor) definitions(ctx context.Context, bySlug map[string][]seenInstance) {
	if !d.admin {
		return // of others' services the instances aren't known
	}
	var list struct{ Definitions []struct{ ID string } }
	if err := d.api.do(ctx, http.MethodGet, "/registry-svc/definitions", nil, &list); err != nil {
		d.say(levelFail, "definitions", "look at the log of registry-svc", "can't be listed: %s", err)
		return
	}
	for _, def := range list.Definitions {
		if len(bySlug[def.ID]) == 0 && !slices.Contains(own, def.ID) {
			d.say(levelWarn, def.ID, "start it, or micro definition rm "+def.ID, "is defined, and has no instance")
		}
	}
}

// schemas tells of services whose newest description of their methods the gateway doesn't serve.
func (d *doctor) schemas(ctx context.Context) {
	var list struct {
		Schemas []struct{ Slug, Problem string }
	}
	err := d.api.do(ctx, http.MethodGet, "/gateway-svc/schemas", nil, &list)
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind == errs.NotFound {
		return // a gateway of before there were any
	}
	if err != nil {
		d.say(levelFail, "schemas", "look at the log of the gateway", "can't be listed: %s", err)
		return
	}
	for _, s := range list.Schemas {
		if s.Problem != "" {
			d.say(levelFail, s.Slug, "mend its .proto and start it again; the routes that it had stay", "its description of itself is not served: %s", s.Problem)
		}
	}
	d.ok("schemas", "known of %s beside the mesh's own", count(len(list.Schemas), "service"))
}

// routes asks the gateway for what each host route leads to.
func (d *doctor) routes(ctx context.Context) {
	var list struct{ Routes []routeRow }
	if !d.called("proxy-svc", func() error {
		return d.api.do(ctx, http.MethodPost, "/proxy-svc/routes", map[string]any{}, &list)
	}) {
		return
	}
	good := 0
	for _, r := range list.Routes {
		switch answer, err := d.follow(ctx, r.ID); {
		case err != nil:
			d.say(levelFail, "route "+r.ID, "see whether the gateway's machine reaches the target, or micro route rm "+r.ID, "leads to %s, and nowhere: %s", r.Target, err)
		case answer == shut:
			d.say(levelWarn, "route "+r.ID, "micro gateway check routes.yaml names the guard; also_open: true keeps host routes to a slug open", "is closed, since routes.yaml guards its target")
		case answer == otherwise:
			d.say(levelWarn, "route "+r.ID, "look at the address that MICRO_EDGE_LISTEN names", "is not served at %s", d.api.base)
		default:
			good++
		}
	}
	d.ok("routes", "%d of %d lead somewhere", good, len(list.Routes))
}

// followed is what a route's host was answered.
type followed int

const (
	led       followed = iota // by the target
	otherwise                 // by a page of the gateway's: host routes have a separate address
	shut                      // by the gateway: a guard of routes.yaml closes it
)

// follow makes a request for a route's host, as browsers make it.
func (d *doctor) follow(ctx context.Context, id string) (followed, error) {
	name, path, _ := strings.Cut(id, "/")
	p, err := d.get(ctx, name, "/"+path)
	if err != nil {
		return led, err
	}
	var says struct {
		errs.Wire
		Name string
	}
	_ = json.Unmarshal(p.body, &says) // a target may answer anything
	switch {
	case says.Name == "micromesh gateway" || says.Code == "NO_INSTANCE" && p.StatusCode == http.StatusNotFound:
		return otherwise, nil
	case says.Code == "NO_ROUTE" && p.StatusCode == http.StatusNotFound:
		return shut, nil
	case p.StatusCode >= http.StatusBadGateway && p.StatusCode <= http.StatusGatewayTimeout:
		return led, apiError(p.Response, p.body)
	}
	return led, nil
}
