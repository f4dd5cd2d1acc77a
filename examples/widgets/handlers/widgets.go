// Package handlers turns requests into calls of the rules, and what they say into answers.
package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"micromesh/examples/widgets/models"
	"micromesh/examples/widgets/services"
	"micromesh/pkg/errs"
)

const maxBody = 64 << 10

// Widgets handles requests about widgets. Who calls is in X-User-ID: the gateway has verified it, and nobody else reaches this service.
type Widgets struct {
	Service *services.Widgets
}

// List answers GET /widgets?color=red&limit=10&after=….
func (h *Widgets) List(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := 0
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			fail(w, errs.New(errs.Invalid, "VALIDATION_ERROR", "limit must be a whole number").With(errs.Detail{Field: "limit", Rule: "type", Message: "must be a whole number"}))
			return
		}
		limit = n
	}
	page, err := h.Service.List(r.Context(), models.WidgetQuery{Color: models.Color(q.Get("color")), Limit: limit, After: q.Get("after")})
	answer(w, http.StatusOK, page, err)
}

// Find answers GET /widgets/{id}.
func (h *Widgets) Find(w http.ResponseWriter, r *http.Request) {
	found, err := h.Service.Find(r.Context(), r.PathValue("id"))
	answer(w, http.StatusOK, found, err)
}

// Save answers PUT /widgets/{id}.
func (h *Widgets) Save(w http.ResponseWriter, r *http.Request) {
	var in models.WidgetInput
	if err := decode(w, r, &in); err != nil {
		fail(w, err)
		return
	}
	saved, err := h.Service.Save(r.Context(), r.Header.Get("X-User-ID"), r.PathValue("id"), in)
	answer(w, http.StatusOK, saved, err)
}

// Delete answers DELETE /widgets/{id}.
func (h *Widgets) Delete(w http.ResponseWriter, r *http.Request) {
	if err := h.Service.Delete(r.Context(), r.Header.Get("X-User-ID"), r.PathValue("id")); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Health answers GET /widgets/health.
func (h *Widgets) Health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"}, nil)
}

func decode(w http.ResponseWriter, r *http.Request, in any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(in)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return errs.New(errs.TooLarge, "", "a body has at most %d bytes", maxBody)
	case err != nil:
		return errs.New(errs.Invalid, "INVALID_JSON", "the body is not right: %s", err)
	case d.Decode(&struct{}{}) != io.EOF:
		return errs.New(errs.Invalid, "INVALID_JSON", "the body must be one JSON object")
	}
	return nil
}

func answer(w http.ResponseWriter, status int, v any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has gone
}

// fail answers an error. What is not one of ours tells nothing of its cause.
func fail(w http.ResponseWriter, err error) {
	e := errs.From(err)
	p := models.Problem{Error: e.Message, Code: e.Code}
	for _, d := range e.Details {
		p.Details = append(p.Details, models.Detail(d))
	}
	answer(w, e.Kind.Status(), p, nil)
}
