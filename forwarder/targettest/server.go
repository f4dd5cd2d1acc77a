// Package targettest is an analytics service for tests: a real HTTP server on loopback that takes what Mixpanel's import and
// CloudEvents look like, and fails as it is told to.
package targettest

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Fault is what the server does with a request in place of answering it.
type Fault int

// Faults. The last two have read the events, and count as having received them.
const (
	None   Fault = iota
	Login        // 401
	Busy         // 429
	Broken       // 500
	Hang         // no answer ever
	Cut          // the connection is closed
)

// Event is one that the server has received.
type Event struct {
	ID     string // $insert_id, or the id of CloudEvents
	Name   string // event, or the type of CloudEvents
	Fields map[string]any
}

// Server is an analytics service.
type Server struct {
	tb   testing.TB
	addr string

	mu       sync.Mutex
	srv      *http.Server
	faults   []Fault
	refuse   func(Event) string
	received []Event
	requests []*http.Request
}

// Start starts a server. It ends with the test.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{tb: tb, addr: "127.0.0.1:0"}
	s.Up()
	tb.Cleanup(s.Down)
	return s
}

// URL is where the server is, also while it is down.
func (s *Server) URL() string { return "http://" + s.addr }

// Up starts the server, at the same address after Down.
func (s *Server) Up() {
	s.tb.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(s.tb.Context(), "tcp", s.addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = ln.Addr().String()
	s.srv = &http.Server{Handler: http.HandlerFunc(s.serve)} //nolint:gosec // it is for tests alone
	go func(srv *http.Server) { _ = srv.Serve(ln) }(s.srv)   // Down ends it
}

// Down closes the port and all connections.
func (s *Server) Down() {
	s.mu.Lock()
	srv := s.srv
	s.mu.Unlock()
	_ = srv.Close()
}

// Fail has the next requests fail, one after the other.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Failing tells how many of these are still to come.
func (s *Server) Failing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// Heal takes back what Fail has said, and ends the requests that hang.
func (s *Server) Heal() {
	s.mu.Lock()
	s.faults = nil
	srv := s.srv
	s.mu.Unlock()
	_ = srv.Close()
	s.Up()
}

// Refuse has events refused for which f gives a reason, as Mixpanel's strict mode does; nil refuses none.
func (s *Server) Refuse(f func(Event) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Received gives all events in the order in which they came, each as often as it came.
func (s *Server) Received() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.received...)
}

// Once gives each event when it came first.
func (s *Server) Once() (out []Event) {
	seen := map[string]bool{}
	for _, e := range s.Received() {
		if !seen[e.ID] {
			out = append(out, e)
		}
		seen[e.ID] = true
	}
	return out
}

// Last is the last request, whose body was read.
func (s *Server) Last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	all, err := read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault, failed := s.take(r, all)
	switch fault {
	case Login:
		w.WriteHeader(http.StatusUnauthorized)
	case Busy:
		w.WriteHeader(http.StatusTooManyRequests)
	case Broken:
		w.WriteHeader(http.StatusInternalServerError)
	case Hang:
		<-r.Context().Done()
	case Cut:
		panic(http.ErrAbortHandler)
	default:
		answer(w, len(all), failed)
	}
}

// take notes what came, and tells what is to be done with it.
func (s *Server) take(r *http.Request, all []Event) (fault Fault, failed []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	if fault != None && fault < Hang {
		return fault, nil
	}
	for i, e := range all {
		if s.refuse != nil {
			if why := s.refuse(e); why != "" {
				failed = append(failed, map[string]any{"index": i, "insert_id": e.ID, "field": "event", "message": why})
				continue
			}
		}
		s.received = append(s.received, e)
	}
	return fault, failed
}

func answer(w http.ResponseWriter, n int, failed []map[string]any) {
	status, out := http.StatusOK, map[string]any{"code": 200, "num_records_imported": n, "status": "OK"}
	if len(failed) > 0 {
		status = http.StatusBadRequest
		out = map[string]any{
			"code": status, "error": "some data points in the request failed validation", "failed_records": failed,
			"num_records_imported": n - len(failed), "status": http.StatusText(status),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // whoever has left doesn't read it
}

// read gives the events of a request.
func read(r *http.Request) ([]Event, error) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	var all []struct {
		Event      string
		Properties map[string]any
		ID, Type   string
		Data       map[string]any
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents+json") {
		b = []byte("[" + string(b) + "]")
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	out := make([]Event, len(all))
	for i, e := range all {
		if out[i] = (Event{e.ID, e.Type, e.Data}); e.ID == "" {
			out[i] = Event{fmt.Sprint(e.Properties["$insert_id"]), e.Event, e.Properties}
		}
	}
	return out, nil
}
