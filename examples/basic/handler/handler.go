// Package handler answers HTTP requests. They come with the path that the gateway was asked for, slug and all.
package handler

import (
	"log/slog"
	"net/http"

	"micromesh/examples/basic/api"
	"micromesh/examples/basic/service"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	sdk "micromesh/sdk/go"
)

// maxBody bounds the bodies of requests.
const maxBody = 64 << 10

// Mesh knows who calls. An sdk.Service does.
type Mesh interface {
	// Verify gives the caller of a request. Errors: Unauthenticated.
	Verify(r *http.Request) (*auth.Claims, error)
	// RequireRole answers 401 and 403 to those who don't hold a role.
	RequireRole(role string, next http.Handler) http.Handler
}

var _ Mesh = (*sdk.Service)(nil)

type handler struct {
	pets *service.Pets
	mesh Mesh
	log  *slog.Logger
}

// New gives the handler of all the service's paths.
func New(pets *service.Pets, mesh Mesh, log *slog.Logger) http.Handler {
	h := &handler{pets, mesh, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /basic-svc/hello", h.hello)
	mux.Handle("PUT /basic-svc/pet", mesh.RequireRole(service.RoleManager, http.HandlerFunc(h.savePet)))
	mux.HandleFunc("POST /basic-svc/pets", h.listPets)
	mux.HandleFunc("GET /basic-svc/openapi.yaml", h.openAPI)
	return h.unknown(mux)
}

// unknown gives what is none of the paths, or another method of one, the mesh's shape of errors.
func (h *handler) unknown(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		refusal := refusal{}
		found.ServeHTTP(refusal, r)
		if allow := refusal.Header().Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			h.fail(w, r, errs.New(errs.MethodNotAllowed, "", "%s takes %s", r.URL.Path, allow))
			return
		}
		h.fail(w, r, errs.NotFoundf("there is nothing at %s", r.URL.Path))
	})
}

// refusal takes the header of what a mux answers by itself.
type refusal http.Header

func (r refusal) Header() http.Header       { return http.Header(r) }
func (refusal) Write(b []byte) (int, error) { return len(b), nil }
func (refusal) WriteHeader(int)             {}

// hello greets the caller by name, or the world where nobody is signed in.
func (h *handler) hello(w http.ResponseWriter, r *http.Request) {
	name := "world"
	if r.Header.Get("Authorization") != "" {
		caller, err := h.mesh.Verify(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		name = caller.Slug
	}
	h.answer(w, r, map[string]string{"message": "hello, " + name})
}

// petBody is the body of savePet, both ways.
type petBody struct {
	Pet service.Pet `json:"pet"`
}

func (h *handler) savePet(w http.ResponseWriter, r *http.Request) {
	var in petBody
	if err := sdk.ReadJSON(w, r, maxBody, &in); err != nil {
		h.fail(w, r, err)
		return
	}
	pet, err := h.pets.Save(r.Context(), auth.FromContext(r.Context()).Slug, in.Pet)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.answer(w, r, petBody{pet})
}

func (h *handler) listPets(w http.ResponseWriter, r *http.Request) {
	var q service.Query
	if err := sdk.ReadJSON(w, r, maxBody, &q); err != nil {
		h.fail(w, r, err)
		return
	}
	page, err := h.pets.List(r.Context(), q)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.answer(w, r, page)
}

func (h *handler) openAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	if _, err := w.Write(api.OpenAPI); err != nil {
		h.log.DebugContext(r.Context(), "client_gone", "error", err)
	}
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, v any) {
	if err := sdk.WriteJSON(w, http.StatusOK, v); err != nil {
		h.log.DebugContext(r.Context(), "client_gone", "error", err)
	}
}

// fail answers an error, and logs those that are our own fault.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if kind := errs.From(err).Kind; kind == errs.Internal || kind == errs.Unavailable {
		h.log.ErrorContext(r.Context(), "request_failed", "error", err, "path", r.URL.Path, "request_id", r.Header.Get("X-Request-Id"))
	}
	sdk.WriteError(w, r, err)
}
