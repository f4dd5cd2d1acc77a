package service

import (
	"context"
	"errors"

	"micromesh/pkg/errs"
)

// DefaultApp is the host of the app that exists from the start, and that is meant where none is named.
const DefaultApp = "unnamed"

// AnyApp is the app of an enroll or a permit that holds in every app.
const AnyApp = "*"

// App is a tenant, known by its host.
type App struct {
	ID   string
	Host string
}

func errNoApp(host string) error {
	return errs.New(errs.NotFound, "APP_NOT_FOUND", "there is no app with the host %q", host)
}

// appByHost finds an app; no host is the default one.
func appByHost(ctx context.Context, r Reader, host string) (App, error) {
	if host == "" {
		host = DefaultApp
	}
	a, err := r.AppByHost(ctx, lowerASCII(host))
	if errors.Is(err, ErrNotFound) {
		return App{}, errNoApp(host)
	}
	return a, err
}

// appIDOf finds the id of the app of an enroll or a permit, where "*" is every app.
func appIDOf(ctx context.Context, r Reader, host string) (string, error) {
	if host == AnyApp {
		return AnyApp, nil
	}
	a, err := appByHost(ctx, r, host)
	return a.ID, err
}

// ReadApp finds the app of a host, and creates it for an admin. Errors: Invalid, NotFound, Unavailable.
func (s *Service) ReadApp(ctx context.Context, c Caller, host string) (App, error) {
	a, err := appByHost(ctx, s.store, host)
	if !errs.Is(err, errs.NotFound) || !c.IsAdmin() {
		return a, err
	}
	if err := checkHost("host", host); err != nil {
		return App{}, err
	}
	a = App{ID: newID("app"), Host: lowerASCII(host)}
	err = s.update(ctx, func(w *work) error { return w.InsertApp(ctx, a) })
	if errors.Is(err, ErrTaken) {
		return appByHost(ctx, s.store, host)
	}
	return a, err
}

// ListApps lists those with one of the hosts or ids, all where neither is given. Errors: Unavailable.
func (s *Service) ListApps(ctx context.Context, hosts, ids []string) ([]App, error) {
	return s.store.Apps(ctx, hosts, ids)
}

// UpdateApp gives an app another host. Errors: Invalid, NotFound, Conflict, Unavailable.
func (s *Service) UpdateApp(ctx context.Context, id, host string) error {
	if err := checkHost("newHost", host); err != nil {
		return err
	}
	defer s.known.forget()
	return s.update(ctx, func(w *work) error {
		a, err := w.App(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return errs.NotFoundf("there is no app %q", id)
		case err != nil:
			return err
		case a.Host == DefaultApp:
			return errs.Conflictf("the app %s keeps its host", DefaultApp)
		}
		err = w.SetAppHost(ctx, id, lowerASCII(host))
		if errors.Is(err, ErrTaken) {
			return errs.Conflictf("another app has the host %q", host)
		}
		return err
	})
}

func checkHost(field, host string) error {
	ok := len(host) > 0 && len(host) <= 253
	for i := 0; ok && i < len(host); i++ {
		c := host[i]
		ok = c == '-' || c == '.' || c == ':' || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9')
	}
	if !ok {
		return errs.Field(field, "host", "must be a host name, such as shop.example.com")
	}
	return nil
}
