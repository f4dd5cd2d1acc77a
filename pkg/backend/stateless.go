package backend

import "micromesh/pkg/host"

// OpenStateless gives the backend of a service that keeps nothing: it has no database, and so publishes no events.
func OpenStateless(h *host.Host, name string) *Backend {
	return &Backend{Log: h.Logger.With("service", name), name: name, host: h}
}
