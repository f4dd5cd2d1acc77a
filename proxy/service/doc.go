// Package service is the proxy's domain: host routes, certificates, and the routing table that gateways follow.
package service

import (
	"context"
	"time"

	"micromesh/pkg/errs"
)

// Store keeps routes and certificates. Each change and the events that tell of it are one transaction.
type Store interface {
	// SaveRoutes creates or replaces routes, all or none.
	SaveRoutes(ctx context.Context, routes []Route, events []Event) error
	// Routes gives the routes with these ids, or all where none is named, sorted by id.
	Routes(ctx context.Context, ids []string) ([]Route, error)
	// DeleteRoutes deletes those of these ids that there are, and gives them.
	DeleteRoutes(ctx context.Context, ids []string, event func(Route) Event) ([]Route, error)
	// SaveCerts creates or replaces certificates, all or none. CreatedAt of one that is replaced stays.
	SaveCerts(ctx context.Context, certs []Cert, events []Event) error
	// Certs gives the certificates with these ids, or all where none is named, sorted by id.
	Certs(ctx context.Context, ids []string) ([]Cert, error)
	// DeleteCerts deletes the certificates with these ids, and returns the ids of those that there were.
	DeleteCerts(ctx context.Context, ids []string, event func(id string) Event) (gone []string, err error)
}

// Sealer encrypts what must not lie readable in the store.
type Sealer interface {
	Seal(plain []byte, context string) []byte
}

// Table is told of routes that have changed, so that gateways learn of them at once.
type Table interface {
	RoutesChanged(ctx context.Context)
}

// Event is something that happened to a route or a certificate.
type Event struct {
	ID      string // the route's or the certificate's
	ActorID string // the account that did it
	What    any    // RouteSaved, RouteDeleted, CertSaved or CertDeleted
	Time    time.Time
}

// What can happen.
type (
	RouteSaved   struct{ Target string }
	RouteDeleted struct{}
	CertSaved    struct{ NotAfter time.Time }
	CertDeleted  struct{}
)

// Service is the proxy's control plane.
type Service struct {
	store  Store
	sealer Sealer
	table  Table
	now    func() time.Time
}

// New makes the service.
func New(store Store, sealer Sealer, table Table, now func() time.Time) *Service {
	return &Service{store, sealer, table, now}
}

// wrong gathers all that is wrong with a list of inputs.
type wrong []errs.Detail

func (w *wrong) add(field string, err error) {
	if err != nil {
		*w = append(*w, errs.Detail{Field: field, Rule: "format", Message: err.Error()})
	}
}

func (w wrong) err() error {
	if len(w) == 0 {
		return nil
	}
	return errs.Invalidf("%s %s", w[0].Field, w[0].Message).With(w...)
}
