package service

import (
	"context"
	"errors"
	"slices"
)

// Self is what an account is told about itself.
type Self struct {
	Account       Account
	Contacts      []Contact
	Organizations []Organization // of the caller's app
	Roles         []string
	ActiveOrg     string
	Tokens        int // those that live, in the caller's app; 0 unless asked for
}

// ReadSelf reads the caller's own account. Errors: Unauthenticated where it was deleted, Unavailable.
func (s *Service) ReadSelf(ctx context.Context, c Caller, countTokens bool) (Self, error) {
	a, err := self(ctx, s.store, c)
	if err != nil {
		return Self{}, err
	}
	me := Self{Account: a, Roles: c.Roles, ActiveOrg: c.ActiveOrg}
	if me.Contacts, err = s.store.ContactsOf(ctx, a.ID); err != nil {
		return Self{}, err
	}
	if me.Organizations, err = s.store.Organizations(ctx, OrganizationQuery{AppID: c.AppID, MemberID: a.ID, Limit: maxPage}); err != nil {
		return Self{}, err
	}
	// The token may be from before an organization became active.
	newest, err := s.store.NewestToken(ctx, c.SessionID)
	switch {
	case err == nil && slices.ContainsFunc(me.Organizations, func(o Organization) bool { return o.ID == newest.ActiveOrg }):
		me.ActiveOrg = newest.ActiveOrg
	case err != nil && !errors.Is(err, ErrNotFound):
		return Self{}, err
	}
	if countTokens {
		live, err := s.store.SessionsOf(ctx, a.ID, c.AppID, "", s.now())
		if err != nil {
			return Self{}, err
		}
		me.Tokens = len(live)
	}
	return me, nil
}

// UsersPage is a page of accounts.
type UsersPage struct {
	Accounts []Account
	Contacts map[string][]Contact // by account
	Roles    map[string][]string  // by account: those of enrolls in any app
	Next     string               // the After of the next page; empty on the last
	Count    int                  // of all that match, where it was asked for
}

// ListUsers lists accounts that live. Errors: Invalid, Unavailable.
func (s *Service) ListUsers(ctx context.Context, q AccountQuery, count bool) (UsersPage, error) {
	q.Limit = pageLimit(q.Limit)
	all, err := s.store.Accounts(ctx, q)
	if err != nil {
		return UsersPage{}, err
	}
	page := UsersPage{Accounts: all, Contacts: map[string][]Contact{}, Roles: map[string][]string{}}
	if len(all) >= q.Limit {
		page.Next = formatTime(q.timeOf(all[len(all)-1]))
	}
	if count {
		if page.Count, err = s.store.CountAccounts(ctx, q); err != nil {
			return UsersPage{}, err
		}
	}
	if len(all) == 0 {
		return page, nil
	}
	ids := make([]string, len(all))
	for i, a := range all {
		ids[i] = a.ID
	}
	contacts, err := s.store.ContactsOf(ctx, ids...)
	if err != nil {
		return UsersPage{}, err
	}
	for _, c := range contacts {
		page.Contacts[c.UserID] = append(page.Contacts[c.UserID], c)
	}
	enrolls, err := s.effective(ctx, s.store, EnrollQuery{UserIDs: ids})
	if err != nil {
		return UsersPage{}, err
	}
	for _, e := range enrolls {
		page.Roles[e.UserID] = addRole(page.Roles[e.UserID], e.Role)
	}
	return page, nil
}
