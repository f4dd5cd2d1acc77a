package service

import "time"

// Event is something that happened to an instance or to a definition.
type Event struct {
	ID, Slug, URL string // the instance's; a definition has a slug alone
	ActorID       string // the account that did it; empty for the mesh itself
	What          any    // one of the types below
	Time          time.Time
}

// What can happen.
type (
	Registered struct {
		DeploymentID string
		Generation   int32
	}
	Changed struct {
		PreviousURL string
		Generation  int32
	}
	Removed           struct{}
	Expired           struct{ LastHeartbeat time.Time }
	StatusChanged     struct{ From, To, Details string }
	DefinitionSaved   struct{}
	DefinitionDeleted struct{}
)

func (s *Service) event(in Instance, actor string, what any) Event {
	return Event{ID: in.ID, Slug: in.Slug, URL: in.URL.String(), ActorID: actor, What: what, Time: s.cfg.Now()}
}
