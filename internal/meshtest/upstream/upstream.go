// Package upstream is an HTTP service for tests to forward to: it tells what has reached it.
package upstream

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// Server is a service that answers what it was asked, as JSON.
type Server struct {
	URL string

	srv      *httptest.Server
	requests atomic.Int64
}

// Seen is what reached the service.
type Seen struct {
	Method string
	Target string // as it was sent
	Host   string
	Header http.Header
	Body   string
}

// Start starts a service that lives until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	s.srv = httptest.NewServer(http.HandlerFunc(s.answer))
	s.URL = s.srv.URL
	t.Cleanup(s.srv.Close)
	return s
}

// Requests is how many requests came.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Stop closes the service and all its connections.
func (s *Server) Stop() {
	s.srv.CloseClientConnections()
	s.srv.Close()
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client sees that nothing comes
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Upstream", s.URL)
	_ = json.NewEncoder(w).Encode(Seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)}) // a client that has gone
}
