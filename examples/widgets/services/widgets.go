// Package services holds the rules: what may be said of widgets, and by whom.
package services

import (
	"context"
	"time"

	"micromesh/examples/widgets/models"
	"micromesh/pkg/errs"
)

// Repository is what the rules need of a store.
type Repository interface {
	Find(ctx context.Context, id string) (models.Widget, error)
	List(ctx context.Context, q models.WidgetQuery) (models.WidgetPage, error)
	Save(ctx context.Context, w models.Widget) error
	Delete(ctx context.Context, id string) error
}

// Widgets are the rules.
type Widgets struct {
	repository Repository
	now        func() time.Time
}

const usualLimit = 20

// NewWidgets makes the rules on a store.
func NewWidgets(r Repository, now func() time.Time) *Widgets { return &Widgets{r, now} }

// Find gives a widget. Errors: NotFound.
func (s *Widgets) Find(ctx context.Context, id string) (models.Widget, error) {
	return s.repository.Find(ctx, id)
}

// List gives a page of widgets. Errors: Invalid.
func (s *Widgets) List(ctx context.Context, q models.WidgetQuery) (models.WidgetPage, error) {
	if err := check(q); err != nil {
		return models.WidgetPage{}, err
	}
	if q.Limit == 0 {
		q.Limit = usualLimit
	}
	return s.repository.List(ctx, q)
}

// Save adds a widget, or changes one of the caller's. Errors: Invalid, Forbidden.
func (s *Widgets) Save(ctx context.Context, caller, id string, in models.WidgetInput) (models.Widget, error) {
	if err := check(in); err != nil {
		return models.Widget{}, err
	}
	now := s.now().UTC()
	w := models.Widget{ID: id, OwnerID: caller, CreatedAt: now}
	switch was, err := s.repository.Find(ctx, id); {
	case err == nil && was.OwnerID != caller:
		return models.Widget{}, errs.Forbiddenf("the widget %s is somebody else's", id)
	case err == nil:
		w = was
	case !errs.Is(err, errs.NotFound):
		return models.Widget{}, err
	}
	w.Name, w.Color, w.Price, w.UpdatedAt = in.Name, in.Color, in.Price, now
	return w, s.repository.Save(ctx, w)
}

// Delete takes a widget of the caller's away. Errors: NotFound, Forbidden.
func (s *Widgets) Delete(ctx context.Context, caller, id string) error {
	w, err := s.repository.Find(ctx, id)
	if err != nil {
		return err
	}
	if w.OwnerID != caller {
		return errs.Forbiddenf("the widget %s is somebody else's", id)
	}
	return s.repository.Delete(ctx, id)
}
