// Package storetest is the contract of service.Store as a test suite: every implementation runs it.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/user/service"
)

// start is when the suite's things happen.
var start = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)

// Run runs the suite; open gives an empty store, and published the events that were committed to it.
func Run(t *testing.T, open func(t *testing.T) (s service.Store, published func() []service.Event)) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"update":        (*suite).update,
		"apps":          (*suite).apps,
		"accounts":      (*suite).accounts,
		"pages":         (*suite).pages,
		"slugs":         (*suite).slugs,
		"contacts":      (*suite).contacts,
		"sessions":      (*suite).sessions,
		"tokens":        (*suite).tokens,
		"keys":          (*suite).keys,
		"enrolls":       (*suite).enrolls,
		"lost roles":    (*suite).lostRoles,
		"permits":       (*suite).permits,
		"organizations": (*suite).organizations,
		"memberships":   (*suite).memberships,
		"codes":         (*suite).codes,
		"attempts":      (*suite).attempts,
		"expiry":        (*suite).expiry,
	} {
		t.Run(name, func(t *testing.T) {
			s, published := open(t)
			test(&suite{T: t, ctx: t.Context(), store: s, published: published})
		})
	}
}

type suite struct {
	*testing.T
	ctx       context.Context
	store     service.Store
	published func() []service.Event
}

// do runs fn in a transaction that must succeed.
func (s *suite) do(fn func(tx service.Tx) error) {
	s.Helper()
	if err := s.store.Update(s.ctx, fn); err != nil {
		s.Fatal(err)
	}
}

// ok gives a value that was read without an error.
func ok[T any](s *suite) func(v T, err error) T {
	return func(v T, err error) T {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
		return v
	}
}

func equal[T any](s *suite, what string, got, want T) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (s *suite) missing(what string, err error) {
	s.Helper()
	if !errors.Is(err, service.ErrNotFound) {
		s.Errorf("%s: %v, want ErrNotFound", what, err)
	}
}

// account is one that has a value in every field.
func account(n int) service.Account {
	at := start.Add(time.Duration(n) * time.Minute)
	return service.Account{
		ID: fmt.Sprint("usr_", n), Slug: fmt.Sprint("account-", n), Name: fmt.Sprint("Älpha ", n), Labels: map[string]string{"team": "red", "ü": "?"},
		Thumbnail: "file", PasswordHash: "$hash", CreatedAt: at, UpdatedAt: at.Add(time.Second),
	}
}

// insert inserts accounts and the app "unnamed".
func (s *suite) insert(accounts ...service.Account) {
	s.Helper()
	s.do(func(tx service.Tx) error {
		err := tx.InsertApp(s.ctx, service.App{ID: "app", Host: "unnamed"})
		for _, a := range accounts {
			err = errors.Join(err, tx.ReserveSlug(s.ctx, a.Slug, a.ID), tx.InsertAccount(s.ctx, a))
		}
		return err
	})
}

func (s *suite) update() {
	mine := errors.New("mine")
	event := service.Event{UserID: "u", Slug: "s", ActorID: "a", What: service.AccountDeleted{}}
	err := s.store.Update(s.ctx, func(tx service.Tx) error {
		return errors.Join(tx.InsertApp(s.ctx, service.App{ID: "1", Host: "a"}), tx.Emit(s.ctx, event), mine)
	})
	if !errors.Is(err, mine) {
		s.Errorf("got %v, want the function's error", err)
	}
	_, err = s.store.App(s.ctx, "1")
	s.missing("an app that was rolled back", err)
	if n := len(s.published()); n != 0 {
		s.Errorf("%d events were published of a transaction that was rolled back", n)
	}
	s.do(func(tx service.Tx) error { return tx.Emit(s.ctx, event) })
	equal(s, "events", s.published(), []service.Event{event})
}

func (s *suite) apps() {
	a, b := service.App{ID: "1", Host: "a.example"}, service.App{ID: "2", Host: "b.example"}
	s.do(func(tx service.Tx) error { return errors.Join(tx.InsertApp(s.ctx, b), tx.InsertApp(s.ctx, a)) })
	equal(s, "by id", ok[service.App](s)(s.store.App(s.ctx, "1")), a)
	equal(s, "by host", ok[service.App](s)(s.store.AppByHost(s.ctx, "b.example")), b)
	_, err := s.store.AppByHost(s.ctx, "c")
	s.missing("unknown host", err)
	list := ok[[]service.App](s)
	equal(s, "all", list(s.store.Apps(s.ctx, nil, nil)), []service.App{a, b})
	equal(s, "either", list(s.store.Apps(s.ctx, []string{"a.example"}, []string{"2"})), []service.App{a, b})
	equal(s, "by ids", list(s.store.Apps(s.ctx, nil, []string{"2", "3"})), []service.App{b})
	err = s.store.Update(s.ctx, func(tx service.Tx) error { return tx.InsertApp(s.ctx, service.App{ID: "3", Host: "a.example"}) })
	if !errors.Is(err, service.ErrTaken) {
		s.Errorf("a second app of a host: %v", err)
	}
	err = s.store.Update(s.ctx, func(tx service.Tx) error { return tx.SetAppHost(s.ctx, "1", "b.example") })
	if !errors.Is(err, service.ErrTaken) {
		s.Errorf("the host of another: %v", err)
	}
	s.do(func(tx service.Tx) error { return tx.SetAppHost(s.ctx, "1", "c.example") })
	equal(s, "moved", ok[service.App](s)(s.store.AppByHost(s.ctx, "c.example")), service.App{ID: "1", Host: "c.example"})
}

func (s *suite) accounts() {
	a, bare := account(1), service.Account{ID: "usr_2", Slug: "bare", CreatedAt: start, UpdatedAt: start}
	s.insert(a, bare)
	get := ok[service.Account](s)
	equal(s, "by id", get(s.store.Account(s.ctx, a.ID)), a)
	equal(s, "by slug", get(s.store.AccountBySlug(s.ctx, "bare")), bare)
	err := s.store.Update(s.ctx, func(tx service.Tx) error {
		return tx.InsertAccount(s.ctx, service.Account{ID: a.ID, Slug: "other", CreatedAt: start, UpdatedAt: start})
	})
	if !errors.Is(err, service.ErrTaken) {
		s.Errorf("a second account of an id: %v", err)
	}
	a.Name, a.Labels, a.Thumbnail, a.PasswordHash, a.UpdatedAt = "Beta", nil, "", "$other", start.Add(time.Hour)
	s.do(func(tx service.Tx) error { return tx.UpdateAccount(s.ctx, a) })
	equal(s, "updated", get(s.store.Account(s.ctx, a.ID)), a)
	a.DeletedAt = start.Add(time.Hour)
	s.do(func(tx service.Tx) error { return tx.UpdateAccount(s.ctx, a) })
	_, err = s.store.Account(s.ctx, a.ID)
	s.missing("deleted, by id", err)
	_, err = s.store.AccountBySlug(s.ctx, a.Slug)
	s.missing("deleted, by slug", err)
}

func (s *suite) pages() {
	var all []service.Account
	for i := range 10 {
		a := account(i)
		if i == 5 {
			a.CreatedAt = account(4).CreatedAt // of one time with the one before
		}
		all = append(all, a)
	}
	gone := account(11)
	s.insert(append(all, gone)...)
	gone.DeletedAt = start
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.UpdateAccount(s.ctx, gone), tx.SaveContact(s.ctx, contact("mail@x.example", all[3].ID)))
	})
	ids := func(q service.AccountQuery) (out []string) {
		for _, a := range ok[[]service.Account](s)(s.store.Accounts(s.ctx, q)) {
			out = append(out, a.ID[4:])
		}
		return out
	}
	equal(s, "latest first", ids(service.AccountQuery{Limit: 3}), []string{"9", "8", "7"})
	equal(s, "not torn apart", ids(service.AccountQuery{Ascending: true, Limit: 5}), []string{"0", "1", "2", "3", "4", "5"})
	equal(s, "behind", ids(service.AccountQuery{Ascending: true, After: all[5].CreatedAt, Limit: 3}), []string{"6", "7", "8"})
	equal(s, "before", ids(service.AccountQuery{After: all[2].CreatedAt, Limit: 3}), []string{"1", "0"})
	equal(s, "by update", ids(service.AccountQuery{ByUpdate: true, After: all[5].UpdatedAt, Limit: 2}), []string{"4", "3"})
	equal(s, "by ids", ids(service.AccountQuery{IDs: []string{"usr_3", "usr_1", "usr_11"}, Limit: 9}), []string{"3", "1"})
	equal(s, "by contact", ids(service.AccountQuery{ContactID: "mail@x.example", Limit: 9}), []string{"3"})
	for search, want := range map[string]int{"ACCOUNT-": 10, "älpha 7": 1, "ÄLPHA": 10, "Mail@X": 1, "t-_": 0, "%": 0, "' OR 1=1--": 0, `\`: 0} {
		q := service.AccountQuery{Search: search, Limit: 100}
		if n := ok[int](s)(s.store.CountAccounts(s.ctx, q)); n != want || len(ids(q)) != want {
			s.Errorf("search %q found %d, want %d", search, n, want)
		}
	}
}

func (s *suite) slugs() {
	reserve := func(slug, owner string) error {
		return s.store.Update(s.ctx, func(tx service.Tx) error { return tx.ReserveSlug(s.ctx, slug, owner) })
	}
	for _, tt := range []struct {
		slug, owner string
		want        error
	}{{"a", "1", nil}, {"a", "1", nil}, {"a", "2", service.ErrTaken}, {"b", "2", nil}} {
		if err := reserve(tt.slug, tt.owner); !errors.Is(err, tt.want) {
			s.Errorf("reserve %s for %s: %v, want %v", tt.slug, tt.owner, err, tt.want)
		}
	}
}

func contact(id, userID string) service.Contact {
	return service.Contact{ID: id, Platform: "email", Handle: id, UserID: userID, Primary: true, Verified: true, CreatedAt: start, UpdatedAt: start}
}

func (s *suite) contacts() {
	s.insert(account(1), account(2))
	c := contact("a@x.example", "usr_1")
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.SaveContact(s.ctx, c), tx.SaveContact(s.ctx, contact("b@x.example", "usr_2")))
	})
	equal(s, "contact", ok[service.Contact](s)(s.store.Contact(s.ctx, c.ID)), c)
	c.UserID, c.Primary, c.Verified, c.UpdatedAt = "usr_2", false, false, start.Add(time.Hour)
	s.do(func(tx service.Tx) error { return tx.SaveContact(s.ctx, c) })
	equal(s, "moved", ok[service.Contact](s)(s.store.Contact(s.ctx, c.ID)), c)
	if n := ok[int](s)(s.store.CountAccounts(s.ctx, service.AccountQuery{Search: "a@x"})); n != 1 {
		s.Errorf("%d accounts are found by one contact", n)
	}
	s.do(func(tx service.Tx) error { // more than an index takes
		var err error
		for i := range 20 {
			id := fmt.Sprintf("%d%s@x.example", i, strings.Repeat("ü", 110))
			err = errors.Join(err, tx.SaveContact(s.ctx, contact(id, "usr_1")), tx.UpdateAccount(s.ctx, account(1)))
		}
		return errors.Join(err, tx.DeleteContactsOf(s.ctx, "usr_1"))
	})
	equal(s, "of both", len(ok[[]service.Contact](s)(s.store.ContactsOf(s.ctx, "usr_1", "usr_2"))), 2)
	equal(s, "of nobody", len(ok[[]service.Contact](s)(s.store.ContactsOf(s.ctx))), 0)
	s.do(func(tx service.Tx) error { return tx.DeleteContactsOf(s.ctx, "usr_2") })
	_, err := s.store.Contact(s.ctx, c.ID)
	s.missing("deleted", err)
}
