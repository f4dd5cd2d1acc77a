package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
)

// Registration is what an owner says of an instance.
type Registration struct {
	Address
	ID           string // of the instance; may be empty
	Slug         string // the owner, where an admin registers for another; may be empty
	DeploymentID string
	HealthPath   string
	Metadata     map[string]string
	Tags         []string
	Generation   int32 // that the caller knows; 0 is not checked
	Version2     bool  // the caller speaks version 2 of the API: it beats, and may prove its address
}

// Result tells what came of a registration.
type Result struct {
	Instance Instance
	Lease    time.Duration
	Changed  bool   // it was more than a heartbeat
	ProofKey string // by which the address proves itself, for callers of version 2
}

// maxID bounds an id that an owner chose.
const maxID = 128

// Register adds an instance, changes it, moves it to another URL, or takes note of its heartbeat: whichever the
// registration amounts to. A heartbeat writes nothing to the database.
//
// Errors: Invalid; Forbidden for what belongs to others; Conflict for a URL that another account has, and for a
// generation that is over; TooMany; Unavailable.
func (s *Service) Register(ctx context.Context, by Caller, r Registration) (*Result, error) {
	in, err := s.instance(by, r)
	if err != nil {
		return nil, err
	}
	// Without the lock first: nearly all registrations are heartbeats.
	if m := s.beats(in, r.Generation); m != nil {
		if m.current.Load().Status == routing.Unreachable {
			s.soon(m, 0) // its program says that it is there again: it needn't wait for its next check
		}
		return s.answer(m, false), nil
	}
	evidence := s.ask(ctx, in)
	unlock, err := s.lockSoon(ctx, in.ID, place(in.URL))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s.behind(in, r.Generation) {
		if err := s.learnOf(ctx, in); err != nil {
			return nil, err
		}
	}
	result, err := s.register(ctx, by, in, r.Generation, evidence)
	if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrURLTaken) {
		return result, err
	}
	// Another registry was first, or knows more. What it has stored is what this registration is about.
	if s.accompanied() || errors.Is(err, ErrChanged) {
		if err := s.learnOf(ctx, in); err != nil {
			return nil, err
		}
		result, err = s.register(ctx, by, in, r.Generation, evidence)
	}
	if errors.Is(err, ErrURLTaken) && in.Proves {
		err = s.invite(in)
	}
	return result, err
}

// learnOf reads what the database has under the id or at the URL of a registration, whose locks are held.
func (s *Service) learnOf(ctx context.Context, in Instance) error {
	var ids []string
	if in.ID != "" {
		ids = append(ids, in.ID)
	}
	return s.learn(ctx, ids, in.URL.String(), held)
}

// instance reads a registration.
func (s *Service) instance(by Caller, r Registration) (in Instance, err error) {
	if len(r.ID) > maxID || !printable(r.ID) {
		return in, errs.Field("id", "format", "has at most %d printable ASCII characters", maxID)
	}
	if r.Generation < 0 {
		return in, errs.Field("generation", "range", "must not be negative")
	}
	u, host, ip, err := r.parse()
	if err != nil {
		return in, err
	}
	healthPath, err := parseHealthPath(r.HealthPath)
	if err != nil {
		return in, err
	}
	slug, err := s.ownerOf(by, r)
	if err != nil {
		return in, err
	}
	return Instance{
		ID: r.ID, Slug: slug, URL: u, Host: host, IP: ip, DeploymentID: r.DeploymentID, HealthPath: healthPath,
		Metadata: r.Metadata, Tags: r.Tags, Beats: r.Version2, Proves: r.Version2,
	}, nil
}

// ownerOf tells whose instance a registration is about. Callers who may register for others need not repeat the owner of an instance.
func (s *Service) ownerOf(by Caller, r Registration) (string, error) {
	switch {
	case by.Slug == "":
		return "", errs.Forbiddenf("an account without a slug can't have instances")
	case r.Slug != "" && r.Slug != by.Slug && !by.Others:
		return "", errs.Forbiddenf("you can register instances of %s alone", by.Slug)
	case r.Slug != "":
		return r.Slug, nil
	case by.Others && r.ID != "":
		if m, _ := s.fleet.find(r.ID, routing.URL{}); m != nil {
			return m.current.Load().Slug, nil
		}
	}
	return by.Slug, nil
}

// beats takes note of a heartbeat, and gives nil for anything else.
func (s *Service) beats(in Instance, known int32) *member {
	byID, m := s.fleet.find(in.ID, in.URL)
	if m == nil || byID != nil && byID != m {
		return nil
	}
	is := m.current.Load()
	if is.Slug != in.Slug || in.ID != "" && in.ID != is.ID || known != 0 && known != is.Generation || !is.same(in) {
		return nil
	}
	s.beat(m)
	if m.current.Load().Vacant { // others may have the URL: that it is not so any more is to be stored
		return nil
	}
	return m
}

// register does what needs the locks of the id and the URL.
func (s *Service) register(ctx context.Context, by Caller, in Instance, known int32, evidence *evidence) (*Result, error) {
	byID, byURL := s.fleet.find(in.ID, in.URL)
	if byID != nil && byID.current.Load().Slug != in.Slug {
		return nil, ErrIDTaken
	}
	var over *member // leaves the URL
	if holder := s.fleet.holder(in.Slug, in.URL); byURL == nil && holder != nil {
		byURL = holder
	}
	if byURL != nil && byURL != byID {
		is := byURL.current.Load()
		switch {
		case is.Slug != in.Slug && !s.yields(byURL, evidence):
			return nil, ErrURLTaken
		case is.Slug == in.Slug && (in.ID == "" || in.ID == is.ID):
			return s.change(ctx, by, byURL, in, known, nil)
		}
		over = byURL
	}
	if byID != nil {
		return s.change(ctx, by, byID, in, known, over)
	}
	return s.add(ctx, by, in, known, over)
}

// add registers an instance that is not known.
func (s *Service) add(ctx context.Context, by Caller, in Instance, known int32, over *member) (*Result, error) {
	if err := s.free(in.URL); err != nil {
		return nil, err
	}
	if !s.fleet.claim(in.Slug, s.cfg.MaxInstances) {
		return nil, errs.New(errs.TooMany, "TOO_MANY_INSTANCES", "%s has %d instances, and can't have more", in.Slug, s.cfg.MaxInstances).After(s.cfg.Lease)
	}
	now := s.cfg.Now()
	in.Metadata, in.Tags = maps.Clone(in.Metadata), slices.Clone(in.Tags)
	in.CreatedAt, in.LastHeartbeat, in.Status, in.Since = now, now, routing.Unknown, now
	s.telling.RLock()
	defer s.telling.RUnlock()
	displaced := s.displace(by, in, over)
	stored, err := s.store.Add(ctx, in, known, displaced, func(in Instance) Event {
		return s.event(in, by.UserID, Registered{in.DeploymentID, in.Generation})
	})
	if err != nil {
		s.restore(displaced)
		s.fleet.release(in.Slug)
		return nil, fmt.Errorf("add instance: %w", err)
	}
	s.displacedBy(over)
	m := newMember(stored)
	m.noted.Store(stored.Beats)
	m.known = s.order.Add(1)
	m.stored.Store(stored.LastHeartbeat.UnixMicro())
	s.beat(m)
	s.watch(m)
	s.fleet.put(m, routing.URL{})
	s.soon(m, 0)
	s.tell(stored)
	return s.answer(m, true), nil
}

// change registers an instance that is known, which differs or was late for the quick path.
func (s *Service) change(ctx context.Context, by Caller, m *member, in Instance, known int32, over *member) (*Result, error) {
	is := *m.current.Load()
	if known != 0 && known < is.Generation {
		return nil, ErrStale
	}
	if is.same(in) && !is.Vacant && over == nil {
		s.beat(m)
		return s.answer(m, false), nil
	}
	moved := is.URL != in.URL
	if moved {
		if err := s.free(in.URL); err != nil {
			return nil, err
		}
	}
	next := is
	next.URL, next.Host, next.IP, next.DeploymentID, next.HealthPath = in.URL, in.Host, in.IP, in.DeploymentID, in.HealthPath
	next.Metadata, next.Tags = maps.Clone(in.Metadata), slices.Clone(in.Tags)
	next.Generation++
	next.Beats, next.Proves, next.Vacant = in.Beats || is.Beats && !is.Proves, in.Proves, false
	next.Proved = is.Proved && in.Proves && !moved
	if moved {
		next.Status, next.Since, next.Details = routing.Unknown, s.cfg.Now(), ""
	}
	previous := is.URL
	s.telling.RLock()
	defer s.telling.RUnlock()
	told := append(s.statuses.pull(next.ID), s.event(next, by.UserID, Changed{previous.String(), next.Generation}))
	displaced := s.displace(by, in, over)
	if err := s.store.Replace(ctx, next, displaced, told); err != nil {
		s.restore(displaced)
		s.statuses.giveBack(is, told[:len(told)-1])
		return nil, fmt.Errorf("change instance: %w", err)
	}
	s.displacedBy(over)
	if is.Beats && !next.Beats {
		m.startOver(s.elapsed())
	}
	m.change(func(cur *Instance) {
		if !moved { // a check may have seen more since
			next.Status, next.Since, next.Details = cur.Status, cur.Since, cur.Details
			next.Proved = cur.Proved && next.Proves
		}
		*cur = next
	})
	m.noted.Store(next.Beats)
	s.beat(m)
	s.watch(m)
	s.fleet.put(m, previous)
	s.soon(m, 0)
	s.tell(next)
	return s.answer(m, true), nil
}

func (s *Service) answer(m *member, changed bool) *Result {
	r := &Result{Instance: s.view(m), Lease: s.cfg.Lease, Changed: changed}
	if r.Instance.Proves {
		r.ProofKey = s.proofKey(r.Instance)
	}
	return r
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
