package routes

import (
	"net/http"
	"slices"
	"strings"

	"micromesh/internal/paths"
)

// Removed is a guard, or the closing of a name, that a table has and its successor hasn't.
type Removed struct {
	Line   int    // of the file before
	Path   string // of the route; or the name that was closed: /{slug}/… or slug/Service.Method
	Method string // the first one that is affected; empty for a closed name
	Before string // what callers needed: "sign-in", permissions, or "closed"
	Now    string // "open", or what they need now
}

// RemovedBy returns the guards of t that next lacks or weakens, in the order of their lines. Each route is tried with one path that it
// has, so a guard that next drops for some of a route's paths alone may be missed.
func (t *Table) RemovedBy(next *Table) (out []Removed) {
	for _, r := range t.routes {
		if r.guard == nil {
			continue
		}
		path := sample(r.pattern)
		for _, method := range allMethods {
			now, err := next.Decide(method, path)
			was, _ := t.Decide(method, path)
			if err != nil || method == http.MethodOptions || was.Route != r || was.Guard == nil || now.Allowed != nil || !weaker(now.Guard, r.guard) {
				continue
			}
			out = append(out, Removed{r.Line, r.Path, method, r.guard.String(), now.Guard.String()})
			break
		}
	}
	before, after := t.Closed(), next.Closed()
	for slug, r := range before.Slugs {
		if after.Slugs[slug] == nil && !next.guardsAll(slug) {
			out = append(out, Removed{Line: r.Line, Path: "/" + slug + "/…", Before: "closed", Now: "open"})
		}
	}
	for name, r := range before.Methods {
		service, endpoint, _ := strings.Cut(name, "/")
		if !after.Method(service, endpoint) {
			out = append(out, Removed{Line: r.Line, Path: name, Before: "closed", Now: "open"})
		}
	}
	slices.SortFunc(out, func(a, b Removed) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Path, b.Path)
	})
	return out
}

// guardsAll reports whether a guard covers every path below a slug.
func (t *Table) guardsAll(slug string) bool {
	d, err := t.Decide(http.MethodGet, "/"+paths.Fold(slug)+"/x")
	return err == nil && d.Guard != nil
}

// weaker reports whether a guard lets in callers that another one refuses.
func weaker(now, before *Guard) bool {
	if now == nil {
		return true
	}
	return slices.ContainsFunc(before.Permissions, func(p string) bool { return !slices.Contains(now.Permissions, p) })
}

// String returns what callers need.
func (g *Guard) String() string {
	switch {
	case g == nil:
		return "open"
	case len(g.Permissions) == 0:
		return "sign-in"
	}
	return strings.Join(g.Permissions, ", ")
}
