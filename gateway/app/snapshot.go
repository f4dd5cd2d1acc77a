package app

import (
	"context"
	"time"

	"micromesh/gateway/schemas"
	"micromesh/pkg/auth"
	"micromesh/pkg/routing"
)

// state is what the snapshot holds.
type state struct {
	Auth    auth.Saved               `json:"auth"`
	Entries map[string]routing.Entry `json:"entries"`
}

func (a *App) restore() {
	a.restoreSchemas()
	var s state
	ok, err := a.snapshot.Load(&s)
	if err != nil {
		a.log.Warn("snapshot_left_out", "error", err)
	}
	if !ok {
		return
	}
	if err := a.host.Auth.Restore(s.Auth); err != nil {
		a.log.Warn("snapshot_left_out", "error", err)
	}
	a.entries.Seed(s.Entries)
	a.update(a.entries.Load())
}

// keep saves the state a moment after it has changed.
func (a *App) keep(ctx context.Context) {
	const settle = 500 * time.Millisecond
	for {
		entries, authState := a.entries.Changed(), a.host.Auth.Changed()
		a.save()
		select {
		case <-entries:
		case <-authState:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			a.save()
			return
		}
	}
}

func (a *App) save() {
	if !a.entries.Synced() || !a.host.Auth.Ready() {
		return // what was saved before is worth more
	}
	if err := a.snapshot.Save(state{Auth: a.host.Auth.Save(), Entries: a.entries.Load()}); err != nil {
		a.log.Error("snapshot_not_saved", "error", err)
	}
}

// restoreSchemas takes up what services said of themselves: while one is away its paths are those of a service that is
// away, not of none.
func (a *App) restoreSchemas() {
	saved := map[string]schemas.Saved{}
	_, err := a.described.Load(&saved)
	if err == nil {
		err = a.schemas.Restore(saved)
	}
	if err != nil {
		a.log.Warn("schemas_left_out", "error", err)
	}
}

// keepSchemas saves the schemas when they have changed: in a file of their own, since they are larger than the rest and
// seldom change.
func (a *App) keepSchemas(ctx context.Context) {
	for {
		changed := a.schemas.Changed()
		if err := a.described.Save(a.schemas.Save()); err != nil {
			a.log.Error("schemas_not_saved", "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
