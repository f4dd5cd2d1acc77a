package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/maypok86/otter/v2"

	"micromesh/pkg/auth"
)

// answers remembers what the mesh has answered about callers' permissions, as long as it said that it may be.
type answers struct {
	svc   *Service
	cache *otter.Cache[question, answer]
}

type question struct{ token, permission string }

type answer struct {
	Authorized bool
	Until      time.Time
}

func newAnswers(s *Service) *answers {
	return &answers{svc: s, cache: otter.Must(&otter.Options[question, answer]{MaximumSize: 10_000})}
}

// HasPermission tells whether a request's caller has a permission, by the mesh's permits. The mesh is asked with the
// caller's token; its answer is remembered for as long as it says.
//
// Errors: Unauthenticated where the request carries no valid token, and those of Call.
func (s *Service) HasPermission(r *http.Request, permission string) (bool, error) {
	if _, err := s.Verify(r); err != nil {
		return false, err
	}
	q := question{auth.Bearer(r.Header.Get("Authorization")), permission}
	if a, ok := s.answers.cache.GetIfPresent(q); ok && time.Now().Before(a.Until) {
		return a.Authorized, nil
	}
	var a answer
	if err := s.send(r.Context(), http.MethodPost, "/user-svc/self/has/"+url.PathEscape(permission), q.token, nil, &a); err != nil {
		return false, err
	}
	s.answers.cache.Set(q, a)
	return a.Authorized, nil
}

// Enroll gives a role to an account or to a contact that may register later.
type Enroll struct {
	Role      string `json:"role"` // one that this service owns: "<slug>:…"
	UserID    string `json:"userId,omitempty"`
	ContactID string `json:"contactId,omitempty"`
	AppHost   string `json:"appHost,omitempty"` // the default app where it is empty; "*" is every one
}

// SaveEnrolls gives roles that this service owns.
func (s *Service) SaveEnrolls(ctx context.Context, enrolls ...Enroll) error {
	return s.Call(ctx, http.MethodPut, "/user-svc/enrolls", map[string]any{"enrolls": enrolls}, nil)
}

// Permit grants a permission to slugs and roles.
type Permit struct {
	Permission string   `json:"permission"` // one that this service owns: "<slug>:<resource>:<verb>"
	Slugs      []string `json:"slugs,omitempty"`
	Roles      []string `json:"roles,omitempty"`
	AppHost    string   `json:"appHost,omitempty"`
}

// SavePermits grants permissions that this service owns.
func (s *Service) SavePermits(ctx context.Context, permits ...Permit) error {
	return s.Call(ctx, http.MethodPut, "/user-svc/permits", map[string]any{"permits": permits}, nil)
}
