package service

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
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

// appByHost finds an app. No host, and the name of the default app, are that one, whatever its host is now.
func appByHost(ctx context.Context, r Reader, host string) (App, error) {
	if host == "" || canonicalHost(host) == DefaultApp {
		return r.App(ctx, DefaultApp)
	}
	a, err := r.AppByHost(ctx, canonicalHost(host))
	if errors.Is(err, ErrNotFound) {
		return App{}, errNoApp(host)
	}
	return a, err
}

// appIDOf finds the id of the app of an enroll or a permit, where "*" is every app, and no host is the app of the caller's token.
func appIDOf(ctx context.Context, r Reader, c Caller, host string) (string, error) {
	switch {
	case host == AnyApp:
		return AnyApp, nil
	case host == "" && c.AppID != "":
		return c.AppID, nil
	}
	a, err := appByHost(ctx, r, host)
	return a.ID, err
}

// maxApps is the most apps that there may be if anyone may create one.
const maxApps = 10_000

var errTooManyApps = errs.New(errs.Conflict, "TOO_MANY_APPS", "there are %d apps already: an admin must create this one", maxApps)

// appOnDemand creates the app of a new host, if the configuration allows that.
//
// Errors: Invalid for the host, Conflict where there are too many, Unavailable.
func (s *Service) appOnDemand(ctx context.Context, host string) error {
	if !s.cfg.AppsOnDemand || host == "" || host == AnyApp {
		return nil
	}
	_, err := appByHost(ctx, s.store, host)
	if !errs.Is(err, errs.NotFound) {
		return err
	}
	all, err := s.store.Apps(ctx, nil, nil)
	if err != nil {
		return err
	}
	if len(all) >= maxApps {
		return errTooManyApps
	}
	_, err = s.createApp(ctx, host)
	return err
}

func (s *Service) createApp(ctx context.Context, host string) (App, error) {
	if err := checkHost("host", host); err != nil {
		return App{}, err
	}
	a := App{ID: newID("app"), Host: canonicalHost(host)}
	err := s.update(ctx, func(w *work) error { return w.InsertApp(ctx, a) })
	if errors.Is(err, ErrTaken) {
		return appByHost(ctx, s.store, host)
	}
	return a, err
}

// ReadApp finds the app of a host, and creates it for an admin, or for anyone where apps are made on demand.
//
// Errors: Invalid, NotFound, Conflict, Unavailable.
func (s *Service) ReadApp(ctx context.Context, c Caller, host string) (App, error) {
	may := s.may(c, "user-svc:app:create")
	if !may {
		if err := s.appOnDemand(ctx, host); err != nil {
			return App{}, err
		}
	}
	a, err := appByHost(ctx, s.store, host)
	if !errs.Is(err, errs.NotFound) || !may {
		return a, err
	}
	return s.createApp(ctx, host)
}

// ListApps lists those with one of the hosts or ids. Where neither is given it lists all, for an admin.
//
// Errors: Unauthenticated, Forbidden, Unavailable.
func (s *Service) ListApps(ctx context.Context, c Caller, hosts, ids []string) ([]App, error) {
	if all := len(hosts) == 0 && len(ids) == 0; all && c.UserID == "" {
		return nil, errs.New(errs.Unauthenticated, "UNAUTHENTICATED", "sign in first, or name apps by host or id")
	} else if all && !s.may(c, "user-svc:app:view") {
		return nil, errs.Forbiddenf("name apps by host or id: listing all takes the permission user-svc:app:view")
	}
	canonical := make([]string, len(hosts))
	for i, h := range hosts {
		canonical[i] = canonicalHost(h)
	}
	all, err := s.store.Apps(ctx, canonical, ids)
	if err != nil || !slices.Contains(canonical, DefaultApp) || slices.ContainsFunc(all, func(a App) bool { return a.ID == DefaultApp }) {
		return all, err
	}
	a, err := appByHost(ctx, s.store, DefaultApp) // which has another host now
	return append(all, a), err
}

// UpdateApp gives an app another host. Errors: Invalid, NotFound, Conflict, Unavailable.
func (s *Service) UpdateApp(ctx context.Context, id, host string) error {
	if err := checkHost("newHost", host); err != nil {
		return err
	}
	defer s.known.forget()
	return s.update(ctx, func(w *work) error {
		_, err := w.App(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return errs.NotFoundf("there is no app %q", id)
		case err != nil:
			return err
		case canonicalHost(host) == DefaultApp && id != DefaultApp:
			return errs.Conflictf("%q names the app that is meant where no app is named", host)
		}
		err = w.SetAppHost(ctx, id, canonicalHost(host))
		if errors.Is(err, ErrTaken) {
			return errs.Conflictf("another app has the host %q", host)
		}
		return err
	})
}

// DeleteApp deletes an app: its sessions end, and its enrolls, permits and organizations are deleted. The default app stays.
//
// Errors: NotFound, Conflict, Unavailable.
func (s *Service) DeleteApp(ctx context.Context, c Caller, id string) error {
	now := s.now()
	defer s.known.forget()
	return s.update(ctx, func(w *work) error {
		a, err := w.App(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return errs.NotFoundf("there is no app %q", id)
		case err != nil:
			return err
		case a.ID == DefaultApp:
			return errs.Conflictf("the app %s stays: it is meant where no app is named", DefaultApp)
		}
		if err := s.emptyApp(ctx, w, c, a, now); err != nil {
			return err
		}
		if err := w.DeleteApp(ctx, id, now); err != nil {
			return err
		}
		return w.Emit(ctx, Event{ActorID: c.UserID, What: AppDeleted{App: a}})
	})
}

// emptyApp deletes all that belongs to an app.
func (s *Service) emptyApp(ctx context.Context, w *work, c Caller, a App, now time.Time) error {
	sessions, err := w.SessionsOfApp(ctx, a.ID, now)
	if err != nil {
		return err
	}
	for _, session := range sessions {
		if _, err := s.revoke(ctx, w, session, now); err != nil {
			return err
		}
	}
	enrolls, err := w.Enrolls(ctx, EnrollQuery{AppID: a.ID})
	if err != nil {
		return err
	}
	for _, e := range enrolls {
		if e.AppID != a.ID {
			continue
		}
		if err := w.DeleteEnroll(ctx, e.ID); err != nil {
			return err
		}
	}
	permits, err := w.Permits(ctx, "", "")
	if err != nil {
		return err
	}
	for _, p := range permits {
		if p.AppID != a.ID {
			continue
		}
		if err := s.dropPermit(ctx, w, c, p); err != nil {
			return err
		}
	}
	organizations, err := w.Organizations(ctx, OrganizationQuery{AppID: a.ID, Limit: math.MaxInt32})
	if err != nil {
		return err
	}
	for _, o := range organizations {
		if err := s.dropOrganization(ctx, w, c, o, now); err != nil {
			return err
		}
	}
	return nil
}

func checkHost(field, host string) error {
	if _, err := ident.Host(host); err != nil {
		return errs.Field(field, "host", "%s", err)
	}
	return nil
}

// canonicalHost returns the canonical form of a host; a text that is no host comes back as it is, and is found nowhere.
func canonicalHost(host string) string {
	if canonical, err := ident.Host(host); err == nil {
		return canonical
	}
	return host
}
