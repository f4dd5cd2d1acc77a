package app

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"micromesh/pkg/auth"
	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
	"micromesh/user/service"
)

const (
	guestStays   = 10 * time.Minute // how long the name of a guest that has left is in use
	serviceStays = 24 * time.Hour   // that of a service: gateways know its schema as long
	namesEvery   = time.Minute      // between two looks where nothing changes
	maxNames     = 20_000           // that are remembered
)

var errNotSynced = errs.New(errs.Unavailable, "NOT_READY", "the names of the programs that run are not known yet: try again").After(time.Second)

// programs knows the names under which programs run or ran lately. They are saved, so that none is free while the mesh restarts.
type programs struct {
	nodes *discovery.Registry
	store nameStore
	log   *slog.Logger

	mu    sync.Mutex
	until map[string]time.Time // by name; after that time the next look forgets the name
}

// nameStore keeps names.
type nameStore interface {
	// NamesInUse returns the saved names, each with the time until which it is in use.
	NamesInUse(ctx context.Context) (map[string]time.Time, error)
	// UseNames saves names.
	UseNames(ctx context.Context, until map[string]time.Time) error
	// DropNames deletes names that were in use until a time before now.
	DropNames(ctx context.Context, now time.Time) error
}

var _ service.Programs = (*programs)(nil)

// newPrograms reads the saved names.
func newPrograms(ctx context.Context, nodes *discovery.Registry, store nameStore, log *slog.Logger) (*programs, error) {
	saved, err := store.NamesInUse(ctx)
	return &programs{nodes: nodes, store: store, log: log, until: saved}, err
}

// Used implements service.Programs.
func (p *programs) Used(slug string) (bool, error) {
	if !p.nodes.Synced() {
		return false, errNotSynced
	}
	if len(p.running(slug)) > 0 {
		return true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used := p.until[slug]
	return used, nil
}

// Claims implements service.Programs.
func (p *programs) Claims(slug string) (claims []string) {
	for _, n := range p.running(slug) {
		if c := n.Metadata[auth.AccountClaim]; c != "" && !n.Stock() && !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	return claims
}

// Claimed implements service.Programs.
func (p *programs) Claimed(claim, slug, password string) bool {
	return auth.Claimed(claim, slug, password)
}

// running returns the nodes under a name. Names are folded as they are where guests may not have those of accounts.
func (p *programs) running(slug string) (nodes []*discovery.Node) {
	for _, s := range p.nodes.Services() {
		if ident.Fold(s.Name) == slug {
			nodes = append(nodes, s.Nodes...)
		}
	}
	return nodes
}

// run remembers the names of programs until ctx ends.
func (p *programs) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	stop := p.nodes.OnChange(func(string) {
		select {
		case changed <- struct{}{}:
		default: // it is due already
		}
	})
	defer stop()
	if p.nodes.Ready(ctx) != nil {
		return
	}
	due := time.NewTicker(namesEvery)
	defer due.Stop()
	for forget := false; ; {
		if err := p.look(ctx, forget); err != nil && ctx.Err() == nil {
			p.log.Warn("names_not_saved", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			forget = false
		case <-due.C:
			forget = p.nodes.Live()
		}
	}
}

// look saves the names of the programs that run. It forgets those that were in use long ago, once programs have had time to come back.
func (p *programs) look(ctx context.Context, forget bool) error {
	now := time.Now()
	seen := map[string]time.Time{}
	p.mu.Lock()
	for _, s := range p.nodes.Services() {
		slug, stays := ident.Fold(s.Name), serviceStays
		if !slices.ContainsFunc(s.Nodes, func(n *discovery.Node) bool { return !n.Stock() }) {
			stays = guestStays
		}
		until, known := p.until[slug]
		if ident.Slug(slug) == nil && !ident.IsReserved(slug) && until.Sub(now) < stays/2 && (known || len(p.until)+len(seen) < maxNames) {
			seen[slug] = now.Add(stays)
		}
	}
	maps.Copy(p.until, seen)
	p.mu.Unlock()
	if len(seen) > 0 {
		if err := p.store.UseNames(ctx, seen); err != nil {
			return err
		}
	}
	if !forget {
		return nil
	}
	if err := p.store.DropNames(ctx, now); err != nil {
		return err
	}
	saved, err := p.store.NamesInUse(ctx) // other processes have seen programs too
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = saved
	return nil
}
