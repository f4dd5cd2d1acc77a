package service

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Backend is an instance as the gateway knows it: where it listens, and how it has answered so far. What was learned
// outlives changes of the table for as long as the instance is in it.
type Backend struct {
	ID      string
	Slug    string
	URL     string
	TLS     bool
	Address string // host:port
	// ServerName is what the certificate must be for.
	ServerName string
	Host       string // as a Host header names it
	Operator   bool   // an operator named the URL, not an account
	Prefix     string // path in front of every request's, without a trailing slash

	group     atomic.Pointer[Group] // that it is one of now
	live      atomic.Bool
	barred    atomic.Bool // it would lead past a guard
	inFlight  atomic.Int64
	latency   atomic.Int64 // exponentially weighted moving average of the time to the first byte, in ns
	measured  atomic.Int64 // when, in ns of the clock below
	failures  atomic.Int32 // in a row
	ejections atomic.Int32
	until     atomic.Int64 // ejected until, in ns of the clock below
	waiting   atomic.Int64 // when the first request was sent since it last answered, in ns of the clock below; 0 is none
	doubted   atomic.Bool  // it has not answered since it was ejected: one request at a time finds out how it is
}

// Outcome is how an instance has answered a request.
type Outcome uint8

// Outcomes of a request, as the instance's doing.
const (
	Answered Outcome = iota // with any status but those below
	Refused                 // 502, 503 or 504: the instance itself says that it can't
	Failed                  // no connection, none of an answer, or one that broke off
	Silent                  // no answer in time
	Unclear                 // the client broke it off: it says nothing
)

const (
	firstEjection  = time.Second
	longEjection   = 30 * time.Second
	refusalsInARow = 5
	silence        = 500 * time.Millisecond // without any answer, while requests wait, that ejects: their own time outs come too late
	unusual        = 20                     // times the usual latency that a request must have waited before it goes elsewhere
	smoothing      = 8                      // a new latency counts for one eighth
	halfLife       = 5 * time.Second        // of a latency that is not measured again: who was slow once gets another chance
)

// party is the kind of party that named a URL.
type party bool

const (
	accounts  party = false
	operators party = true
)

func newBackend(id, slug, raw string, by party) (*Backend, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse URL of instance %s: %w", id, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("instance %s: the gateway can't forward to the scheme %q", id, u.Scheme)
	}
	return &Backend{
		ID: id, Slug: slug, URL: raw, Operator: by == operators, TLS: u.Scheme == "https",
		Address: address(u), ServerName: u.Hostname(), Host: u.Host, Prefix: prefixOf(u),
	}, nil
}

// address is the host and the port of a URL, http or https.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// prefixOf is the path of a URL, which goes in front of the paths of requests.
func prefixOf(u *url.URL) string { return strings.TrimSuffix(u.EscapedPath(), "/") }

// Begin counts a request that is sent to the backend; Done must follow.
func (b *Backend) Begin(now time.Time) {
	b.inFlight.Add(1)
	if b.waiting.Load() == 0 {
		b.waiting.CompareAndSwap(0, now.UnixNano())
	}
}

// Done takes up how a request went. Failures in a row eject the backend for a time that doubles with each ejection.
func (b *Backend) Done(o Outcome, latency time.Duration, now time.Time) {
	left := b.inFlight.Add(-1)
	if o == Unclear {
		if left == 0 && !b.silent(now) {
			b.waiting.Store(0)
		}
		return
	}
	if o == Answered || o == Refused {
		b.heard()
	}
	if o == Answered {
		old := b.latency.Load()
		b.latency.Store(old + (int64(latency)-old)/smoothing)
		b.measured.Store(now.UnixNano())
		if b.failures.Load() != 0 {
			b.failures.Store(0)
		}
		if b.ejections.Load() != 0 && now.UnixNano() > b.until.Load()+int64(longEjection) {
			b.ejections.Store(0)
		}
		return
	}
	limit := int32(1)
	if o == Refused {
		limit = refusalsInARow
	}
	if b.failures.Add(1) >= limit {
		b.eject(now)
	}
}

func (b *Backend) eject(now time.Time) {
	if now.UnixNano() < b.until.Load() {
		return // already; requests that were under way don't count again
	}
	n := b.ejections.Add(1)
	d := min(firstEjection<<min(n-1, 5), longEjection)
	b.failures.Store(0)
	b.until.Store(now.Add(d).UnixNano())
	b.waiting.Store(0)
	b.doubted.Store(true)
}

// heard takes note that the backend has answered something. It writes only what changes: each request comes by here.
func (b *Backend) heard() {
	b.waiting.Store(0)
	if b.doubted.Load() {
		b.doubted.Store(false)
	}
}

// silent ejects the backend where requests have been waiting for too long without an answer to any, and tells whether it did.
func (b *Backend) silent(now time.Time) bool {
	w := b.waiting.Load()
	if w == 0 || now.UnixNano()-w <= int64(silence) {
		return false
	}
	b.eject(now)
	return true
}

// spared tells whether requests rather go elsewhere: the backend is ejected, or silent, or has been and is being tried.
func (b *Backend) spared(now time.Time) bool {
	return b.Ejected(now) || b.silent(now) || b.doubted.Load() && b.waiting.Load() != 0
}

// Abandon tells whether a request that waits at the backend since it was sent, and that may be sent twice, is to go elsewhere:
// it has waited for the silence that ejects, and far longer than is usual there; the backend has answered nobody meanwhile, and
// more than this one request wait, or it is being tried; another one is well, and the group may retry. A retry is spent then.
// An instance that hangs while its kernel goes on accepting is found out so; one that is slow to answer one request is not.
func (b *Backend) Abandon(sent, now time.Time) bool {
	waited := now.Sub(sent)
	if waited <= silence || int64(waited) < unusual*b.latency.Load() {
		return false
	}
	if !b.doubted.Load() && (b.inFlight.Load() < 2 || !b.silent(now)) {
		return false
	}
	g := b.group.Load()
	return g.choose(now, nil, func(o *Backend) bool { return o != b && o.well(now) }) != nil && g.Retry()
}

// well tells whether the backend is known to answer: one that was ejected is so only when it has answered again.
func (b *Backend) well(now time.Time) bool { return b.Live() && !b.doubted.Load() && !b.spared(now) }

// Ejected tells whether the backend is to be spared for now.
func (b *Backend) Ejected(now time.Time) bool { return now.UnixNano() < b.until.Load() }

// Live reports whether the backend may get requests: the registry says that it answers, and no guard is led past by it.
func (b *Backend) Live() bool { return b.live.Load() && !b.barred.Load() }

// load is what P2C compares: how long a new request would wait, roughly.
func (b *Backend) load(now time.Time) int64 {
	age := max(now.UnixNano()-b.measured.Load(), 0) / int64(halfLife)
	latency := b.latency.Load() >> min(age, 62)
	return (b.inFlight.Load() + 1) * max(latency, int64(50*time.Microsecond))
}
