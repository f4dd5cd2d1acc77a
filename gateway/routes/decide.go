package routes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"micromesh/internal/paths"
)

// Guard is a requirement on callers: they must be signed in, and have all the permissions.
type Guard struct{ Permissions []string }

// Decision is the result of Decide.
type Decision struct {
	Route   *Route   // nil if no route takes the request
	Allowed []string // the methods that the path takes, if a route describes it and none takes the method: the answer is 405 then
	Guard   *Guard   // nil if the request is open to everybody. It applies also where Route is nil
	Guarded bool     // Allowed are the methods of routes of which one has a guard
}

// ErrAmbiguous reports that servers may read a path as paths with different guards. Its text is fit for the client.
var ErrAmbiguous = errors.New("the path can be read in two ways that different callers may use: send it in its plain spelling, without encoded slashes, ;parameters and repeated slashes")

// Decide finds the route and the guard of a request, whose path is as it was sent.
//
// The route is that of the path with percent-encoding decoded once, in folded case and without a slash at its end. The guard is that of
// any reading of the path (see package paths), compared in folded case and as it is. A path is public only if all of its readings are.
//
// Errors: ErrAmbiguous if readings have different guards; those of [paths.Read], if there are guards at all.
func (t *Table) Decide(method, path string) (Decision, error) {
	if paths.Plain(path) {
		return t.decide(method, path, path, nil)
	}
	sent := paths.Decode(path)
	if len(sent) > 1 {
		sent = strings.TrimSuffix(sent, "/")
	}
	if !t.guarded {
		return t.decide(method, sent, path, nil)
	}
	var room [paths.Max]string
	readings, err := paths.Read(room[:0], path)
	if err != nil {
		return Decision{}, fmt.Errorf("read path: %w", err)
	}
	return t.decide(method, sent, path, readings)
}

// decide takes the path that is routed, the path as it was sent, and its readings; no readings mean that there is one.
func (t *Table) decide(method, sent, path string, readings []string) (Decision, error) {
	main := t.look(method, sent, 0)
	d := Decision{Route: main.route}
	if main.route == nil && main.described {
		d.Allowed = t.allowed(sent, 0)
	}
	if !t.guarded {
		return d, nil
	}
	one := [1]string{path}
	if readings == nil {
		readings = one[:]
	}
	open := t.open(readings)
	for _, reading := range readings {
		f := main
		if reading != sent {
			f = t.look(method, reading, 0)
		}
		if err := t.apply(&d, f, reading, 0, open); err != nil {
			return Decision{}, err
		}
		if !f.described || f.route != nil && f.route.pattern.Exact(reading) {
			continue // a server that minds case reads it the same
		}
		if err := t.apply(&d, t.look(method, reading, paths.ExactCase), reading, paths.ExactCase, open); err != nil {
			return Decision{}, err
		}
	}
	return d, nil
}

// apply adds to a decision what one reading says.
func (t *Table) apply(d *Decision, f finding, reading string, mode paths.Mode, open bool) error {
	switch {
	case f.route == nil && f.guarded: // the plain spelling is 405, and others don't reach more
		d.Route, d.Allowed, d.Guarded = nil, t.allowed(reading, mode), true
	case f.route == nil || f.route.guard == nil || open:
	case d.Guard != nil && d.Guard != f.route.guard:
		return ErrAmbiguous
	default:
		d.Guard = f.route.guard
	}
	return nil
}

// finding is the result of looking for a reading.
type finding struct {
	route     *Route
	described bool // a route has such a path, perhaps for other methods
	guarded   bool // one for other methods has a guard, and none takes the method
}

func (t *Table) look(method, reading string, mode paths.Mode) (f finding) {
	t.tree.Walk(reading, mode|named(reading), func(r *Route) bool {
		f.described = true
		if r.takes(method) {
			f.route = r
			return true
		}
		f.guarded = f.guarded || r.guard != nil
		return false
	})
	f.guarded = f.guarded && f.route == nil
	return f
}

// allowed returns the methods of the routes that a reading has.
func (t *Table) allowed(reading string, mode paths.Mode) (methods []string) {
	t.tree.Walk(reading, mode|named(reading), func(r *Route) bool {
		if !slices.Contains(methods, r.Method) {
			methods = append(methods, r.Method)
		}
		return false
	})
	slices.Sort(methods)
	return methods
}

// open reports whether all readings are public, in their own case.
func (t *Table) open(readings []string) bool {
	for _, reading := range readings {
		public := false
		t.public.Walk(reading, paths.ExactCase, func(struct{}) bool { public = true; return true })
		if !public {
			return false
		}
	}
	return true
}

// own are first segments that are the mesh's own, whatever a file says.
var own = []string{"healthz", "readyz", "metrics", "openapi.json", "docs", ".well-known", gatewaySlug, "user-svc", "registry-svc", "proxy-svc"}

// isOwn reports whether a path is one of the mesh's own.
func isOwn(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	first, _, _ := strings.Cut(path[1:], "/")
	for _, s := range own {
		if len(first) == len(s) && strings.EqualFold(first, s) {
			return true
		}
	}
	return false
}

// named is the mode for a reading: the mesh's own paths are taken by no route that doesn't name them.
func named(reading string) paths.Mode {
	if isOwn(reading) {
		return paths.NamedFirst
	}
	return 0
}
