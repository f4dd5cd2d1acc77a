package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"micromesh/pkg/routing"
)

// Route leads a host, or a path below it, to a URL.
type Route struct {
	ID     string // "host" or "host/path", canonical
	Shown  string // the id as it was saved; "" if that was before it was kept
	Target string // canonical URL
}

// SaveRoutes creates or replaces routes, all of them or none, and gives them as they were saved: hosts in lower case,
// targets with their scheme, http where they have none, and with their port.
//
// Errors: Invalid, which names every route that is wrong; Unavailable.
func (s *Service) SaveRoutes(ctx context.Context, actor string, routes []Route) ([]Route, error) {
	var bad wrong
	out := make([]Route, 0, len(routes))
	for i, r := range routes {
		id, err := routeID(r.ID)
		bad.add(fmt.Sprintf("routes[%d].id", i), err)
		if !strings.Contains(r.Target, "://") {
			r.Target = "http://" + r.Target
		}
		target, err := routing.ParseURL(r.Target, "http", "https")
		bad.add(fmt.Sprintf("routes[%d].target", i), err)
		if slices.ContainsFunc(out, func(o Route) bool { return o.ID == id }) && id != "" {
			bad.add(fmt.Sprintf("routes[%d].id", i), errors.New("is named twice"))
		}
		out = append(out, Route{ID: id, Shown: r.ID, Target: target.String()})
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	events := make([]Event, len(out))
	for i, r := range out {
		events[i] = Event{ID: r.ID, ActorID: actor, What: RouteSaved{r.Target}, Time: s.now()}
	}
	if err := s.store.SaveRoutes(ctx, out, events); err != nil {
		return nil, fmt.Errorf("save routes: %w", err)
	}
	s.table.RoutesChanged(ctx)
	return out, nil
}

// Routes lists routes by id, or all.
//
// Errors: Unavailable.
func (s *Service) Routes(ctx context.Context, ids []string) ([]Route, error) {
	routes, err := s.store.Routes(ctx, canonicalIDs(ids))
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// DeleteRoutes deletes routes and gives those that there were. An id that has no route is no error: it is gone.
//
// Errors: Unavailable.
func (s *Service) DeleteRoutes(ctx context.Context, actor string, ids []string) ([]Route, error) {
	gone, err := s.store.DeleteRoutes(ctx, canonicalIDs(ids), func(r Route) Event {
		return Event{ID: r.ID, ActorID: actor, What: RouteDeleted{}, Time: s.now()}
	})
	if err != nil {
		return nil, fmt.Errorf("delete routes: %w", err)
	}
	s.table.RoutesChanged(ctx)
	return gone, nil
}

// canonicalIDs makes ids canonical; one that is none of a route stays as it is, and finds nothing.
func canonicalIDs(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id
		if c, err := routeID(id); err == nil {
			out[i] = c
		}
	}
	return out
}

// routeID reads "host" or "host/path" and gives its canonical form.
func routeID(id string) (string, error) {
	host, path, hasPath := strings.Cut(id, "/")
	if strings.Contains(id, "://") {
		return "", errors.New("must be a host, or a host and a path, without a scheme: such as shop.example.com/api")
	}
	if strings.ContainsAny(id, "?# \\@") {
		return "", errors.New("holds characters that neither a host nor a path has")
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "", errors.New("must not name a port: a route holds for its host on every port")
	}
	host, err := routing.ParseHost(strings.Trim(host, "[]"))
	if err != nil {
		return "", err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !hasPath {
		return host, nil
	}
	path, err = routing.ParsePath("/" + path)
	if err != nil {
		return "", err
	}
	return host + path, nil
}
