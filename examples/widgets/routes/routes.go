// Package routes says which handler has which path. Who may ask for them is in the gateway's routes.yaml.
package routes

import (
	"net/http"

	"micromesh/examples/widgets/handlers"
)

// New gives the service's handler.
func New(h *handlers.Widgets) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /widgets/health", h.Health)
	mux.HandleFunc("GET /widgets", h.List)
	mux.HandleFunc("GET /widgets/{id}", h.Find)
	mux.HandleFunc("PUT /widgets/{id}", h.Save)
	mux.HandleFunc("DELETE /widgets/{id}", h.Delete)
	return mux
}
