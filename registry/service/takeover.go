package service

import (
	"context"
	"encoding/hex"
	"time"

	"micromesh/pkg/errs"
)

// evidence is the proofs of an address at one moment: by the key of the account that has the URL, and by that of the account
// that registers it.
type evidence struct {
	holder     *member
	generation int32 // of the holder
	challenger bool  // proved it, and the holder did not
}

// ask asks an address that another account has whether it is rather the caller's. It gives nil where there is no such
// question. It takes as long as a check, so no locks are held.
func (s *Service) ask(ctx context.Context, in Instance) *evidence {
	holder := s.fleet.holder(in.Slug, in.URL)
	if holder == nil || !in.Proves {
		return nil
	}
	is := holder.current.Load()
	found := s.checker.Prove(ctx, in.URL, in.HealthPath, s.cfg.Key(in.Slug, in.URL.String()), s.cfg.Key(is.Slug, is.URL.String()))
	proved := len(found.Proofs) == 2 && found.Proofs[0] && !found.Proofs[1]
	return &evidence{holder, is.Generation, proved}
}

// yields reports whether an instance must leave its URL to another account.
func (s *Service) yields(holder *member, e *evidence) bool {
	is := holder.current.Load()
	return is.Vacant || e != nil && e.holder == holder && e.generation == is.Generation && e.challenger
}

// invite is the Conflict for a caller of version 2, with the key by which the address may prove itself at the next try.
func (s *Service) invite(in Instance) error {
	return ErrURLTaken.With(errs.Detail{Field: "proofKey", Rule: "proof", Message: s.proofKey(in)})
}

// proofKey is the key of an instance as it is answered.
func (s *Service) proofKey(in Instance) string {
	return hex.EncodeToString(s.cfg.Key(in.Slug, in.URL.String()))
}

// Displaced is an instance that leaves its URL to another.
type Displaced struct {
	Instance
	Heard  time.Time // its last stored heartbeat that this registry knows
	Events []Event   // about it
}

// displace describes what a registration displaces; nil is nothing. Its events include changes of its status that are not stored yet.
func (s *Service) displace(by Caller, in Instance, over *member) *Displaced {
	if over == nil {
		return nil
	}
	is := s.view(over)
	var why any = Removed{}
	if is.Slug != in.Slug {
		why = Expired{is.LastHeartbeat}
	}
	return &Displaced{
		Instance: is, Heard: time.UnixMicro(over.stored.Load()),
		Events: append(s.statuses.pull(is.ID), s.event(is, by.UserID, why)),
	}
}

// restore takes back what displace did, where it could not be stored.
func (s *Service) restore(d *Displaced) {
	if d != nil {
		s.statuses.giveBack(d.Instance, d.Events[:len(d.Events)-1])
	}
}

// displacedBy takes out of memory what was displaced.
func (s *Service) displacedBy(over *member) {
	if over == nil {
		return
	}
	s.leave(over)
	in := *over.current.Load()
	s.board.Displaced(in.Slug, in.ID)
	s.tellPeers(in)
}
