package service

import (
	"context"
	"slices"
	"time"
)

// LostRole is a role that an account lost while tokens carry it. Tokens of the app that were issued at that time or before have it no more.
type LostRole struct {
	UserID string
	AppID  string // AnyApp is the tokens of every app
	Role   string // or a mark: "<first segments>:*" is every role that begins so, and "*" every role but RoleUser
	At     time.Time
	// Back reports whether the role was granted again since, so that those tokens have it. It is remembered because they lose it once more
	// with the new grant, though the grant is younger than they are.
	Back bool
}

const (
	// maxLost bounds the replicated entry of one account, in bytes. Beyond it a mark takes the place of all lost roles of one owner, the owner
	// with the most bytes first. So no account keeps a right by losing many others, and a stranger's roles crowd out no other roles.
	maxLost = 16 << 10
	// maxLostApps is the maximum number of apps in which a role is lost one by one.
	maxLostApps = 20
)

// everyRole is the mark for all roles.
const everyRole = "*"

// size returns about the number of bytes of an entry where it is replicated.
func (l LostRole) size() int { return 2*len(l.Role) + len(l.AppID) + 48 }

// mark returns the mark that includes a lost role.
func (l LostRole) mark() string {
	if l.Role == everyRole {
		return everyRole
	}
	return grantor(l.Role) + ":*"
}

// in reports whether tokens of an app have lost the role.
func (l LostRole) in(appID string) bool { return appID == AnyApp || l.AppID == appID }

// take takes a role away from the tokens of an app, or of all apps (AnyApp), in which the account doesn't hold it by another grant. A role
// that no token can carry, since all are older than the grant, needs no record.
func take(ctx context.Context, w *work, userID, appID, role string, granted, now time.Time, held func(appID string) bool) error {
	if role == RoleUser {
		return nil
	}
	issued, err := w.Issued(ctx, userID)
	if err != nil {
		return err
	}
	lost, err := w.RolesLost(ctx, userID)
	if err != nil {
		return err
	}
	var taken []LostRole
	for app, newest := range issued {
		had := slices.ContainsFunc(lost, func(l LostRole) bool { return l.Role == role && (l.in(app) || l.AppID == AnyApp) })
		if appID != AnyApp && appID != app || held(app) || !had && newest.Before(granted.Add(-leeway)) {
			continue
		}
		// Another process, whose clock is ahead, may have issued the newest token.
		taken = append(taken, LostRole{UserID: userID, AppID: app, Role: role, At: later(now, newest)})
	}
	if len(taken) > maxLostApps {
		all := LostRole{UserID: userID, AppID: AnyApp, Role: role}
		for _, l := range taken {
			all.At = later(all.At, l.At)
		}
		taken = []LostRole{all}
	}
	return record(ctx, w, userID, lost, taken)
}

// give makes sure that a role which was taken away before counts again in the tokens of an app.
func give(ctx context.Context, w *work, userID, appID, role string) error {
	lost, err := w.RolesLost(ctx, userID)
	if err != nil {
		return err
	}
	for _, l := range lost {
		if l.Role != role || l.Back || !l.in(appID) && l.AppID != AnyApp {
			continue
		}
		w.changes.Users = append(w.changes.Users, userID)
		if l.in(appID) {
			l.Back = true
			if err := w.LoseRole(ctx, l); err != nil {
				return err
			}
			continue
		}
		if err := except(ctx, w, l, appID, lost); err != nil {
			return err
		}
	}
	return nil
}

// except splits a role that was lost in every app into one entry for each app, and grants it again in one app. With too many apps the entry
// stays: the account needs a new token.
func except(ctx context.Context, w *work, l LostRole, appID string, lost []LostRole) error {
	issued, err := w.Issued(ctx, l.UserID)
	if err != nil || len(issued) > maxLostApps {
		return err
	}
	if err := w.DropLost(ctx, l); err != nil {
		return err
	}
	var each []LostRole
	for app := range issued {
		each = append(each, LostRole{UserID: l.UserID, AppID: app, Role: l.Role, At: l.At, Back: app == appID})
	}
	lost = slices.DeleteFunc(slices.Clone(lost), func(o LostRole) bool { return o == l })
	return record(ctx, w, l.UserID, lost, each)
}

// record saves roles that an account has lost, beside those that are saved, within the bound.
func record(ctx context.Context, w *work, userID string, saved, more []LostRole) error {
	if len(more) == 0 {
		return nil
	}
	w.changes.Users = append(w.changes.Users, userID)
	for _, l := range more {
		saved = slices.DeleteFunc(saved, func(o LostRole) bool { return o.Role == l.Role && o.AppID == l.AppID })
		saved = append(saved, l)
		if err := w.LoseRole(ctx, l); err != nil {
			return err
		}
	}
	for sizeOf(saved) > maxLost {
		var err error
		if saved, err = collapse(ctx, w, userID, saved); err != nil {
			return err
		}
	}
	return nil
}

// collapse puts a mark in the place of the roles that take the most room, and returns what is left.
func collapse(ctx context.Context, w *work, userID string, lost []LostRole) ([]LostRole, error) {
	by := map[string]int{}
	for _, l := range lost {
		if l.Role != l.mark() {
			by[l.mark()] += l.size()
		}
	}
	mark := LostRole{UserID: userID, AppID: AnyApp, Role: everyRole}
	most := 0
	for name, size := range by {
		if size > most || size == most && name < mark.Role {
			mark.Role, most = name, size
		}
	}
	left := lost[:0:0]
	for _, l := range lost {
		if mark.Role != everyRole && l.mark() != mark.Role {
			left = append(left, l)
			continue
		}
		mark.At = later(mark.At, l.At)
		if err := w.DropLost(ctx, l); err != nil {
			return nil, err
		}
	}
	return append(left, mark), w.LoseRole(ctx, mark)
}

func sizeOf(lost []LostRole) (n int) {
	for _, l := range lost {
		n += l.size()
	}
	return n
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
