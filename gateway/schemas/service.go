package schemas

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"micromesh/gateway/transcode"
	"micromesh/pkg/discovery"
	"micromesh/pkg/schema"
)

const (
	fetches      = 4 // at once
	fetchTimeout = 5 * time.Second
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 5 * time.Second

	maxTotal   = 64 << 20 // bytes of all schemas
	maxProblem = 500      // bytes of what is told of a schema that is refused
)

// slugs are names that an account, and so a path, can have.
var slugs = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// service is what is known of one service.
type service struct {
	slug  string
	nodes int       // that run
	seen  time.Time // when a node named a schema last

	schema   schema.Schema       // whose bindings are served
	bindings *transcode.Bindings // nil before one was accepted

	wanted  string // hash that the newest node names
	problem string // why it isn't served
	refused bool   // for ever
	held    bool   // by instances of the slug's account
	next    time.Time
	delay   time.Duration
}

// newest gives the schema of the node that began last, of those that name one. In a rolling update it is the one that will
// be there in the end: its new methods can be called at once, by nodes that have them, since a caller passes over those that
// don't. Nodes of different machines differ by their clocks; that matters only while both run.
func newest(nodes []*discovery.Node) (hash string, ok bool) {
	latest, id := int64(-1), ""
	for _, n := range nodes {
		h := n.Metadata[schema.NodeHash]
		if h == "" {
			continue
		}
		since, err := strconv.ParseInt(n.Metadata[schema.NodeSince], 10, 64)
		if err != nil || since < 0 {
			since = 0
		}
		if since > latest || since == latest && n.ID > id {
			hash, latest, id = h, since, n.ID
		}
	}
	return hash, latest >= 0
}

// wants takes up the schema that the service names now.
func (s *service) wants(hash string, now time.Time) {
	s.seen = now
	if hash != s.wanted {
		s.wanted, s.problem, s.refused, s.next, s.delay = hash, "", false, time.Time{}, 0
	}
}

// due tells whether there is something to fetch, now or later.
func (s *service) due() bool {
	return s.wanted != "" && s.wanted != s.schema.Hash && !s.refused && !s.held
}

// state is the metric's word for how it stands.
func (s *service) state() string {
	switch {
	case s.refused, s.held:
		return stateRefused
	case s.due():
		return stateMissing
	}
	return stateServed
}

// fetch fetches what is due, some at once, and tells whether anything new is served.
func (f *Follower) fetch(ctx context.Context, now time.Time) (accepted bool) {
	type result struct {
		schema schema.Schema
		err    error
	}
	results := map[*service]*result{}
	room := make(chan struct{}, fetches)
	var wg sync.WaitGroup
	for _, s := range f.services {
		if !s.due() || now.Before(s.next) || s.nodes == 0 {
			continue
		}
		r, hash := &result{}, s.wanted
		results[s] = r
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			r.schema, r.err = f.get(ctx, hash)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return false
	}
	for s, r := range results {
		if r.err == nil {
			r.err = f.accept(s, r.schema)
		}
		if r.err == nil {
			accepted = true
			f.log.Info("schema_served", "slug", s.slug, "schema", s.wanted)
			continue
		}
		f.failed(s, r.err)
	}
	return accepted
}

func (f *Follower) get(ctx context.Context, hash string) (schema.Schema, error) {
	if !schema.IsHash(hash) {
		return schema.Schema{}, &refusal{errors.New("the node names no hash of a schema")}
	}
	if !f.cfg.JS.Conn().IsConnected() {
		return schema.Schema{}, errors.New("there is no connection to NATS")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	return schema.Fetch(ctx, f.cfg.JS, hash)
}

// refusal is an error that another try would not mend: what lies under a hash never changes.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// accept makes a schema the one that is served, or tells what is wrong with it.
func (f *Follower) accept(s *service, one schema.Schema) error {
	switch {
	case f.cfg.BuiltIn.Has(s.slug) || s.slug == f.cfg.Self:
		return &refusal{fmt.Errorf("%s is a slug of the mesh itself", s.slug)}
	case !slugs.MatchString(s.slug):
		return &refusal{fmt.Errorf("%q is no slug: lower-case letters, digits and single dashes, such as shop-svc", s.slug)}
	}
	total := len(one.Set)
	for _, other := range f.services {
		if other != s {
			total += len(other.schema.Set)
		}
	}
	if total > maxTotal {
		return fmt.Errorf("the schemas of all services would have %d bytes; at most %d are kept", total, maxTotal)
	}
	files, err := schema.Open(one)
	if errors.Is(err, schema.ErrContent) {
		return err // its publisher mends it
	}
	if err != nil {
		return &refusal{err}
	}
	bindings, err := transcode.NewService(s.slug, files...)
	if err != nil {
		return &refusal{err}
	}
	s.schema, s.bindings, s.problem, s.delay = one, bindings, "", 0
	return nil
}

// failed takes up why the wanted schema isn't served, and says it once.
func (f *Follower) failed(s *service, err error) {
	_, s.refused = errors.AsType[*refusal](err)
	s.delay = min(max(2*s.delay, firstRetry), lastRetry)
	s.next = time.Now().Add(s.delay)
	problem := short(err.Error())
	if problem == s.problem {
		return
	}
	s.problem = problem
	if s.refused || !errors.Is(err, schema.ErrMissing) {
		f.log.Warn("schema_refused", "slug", s.slug, "schema", s.wanted, "error", problem)
		return
	}
	f.log.Info("schema_awaited", "slug", s.slug, "schema", s.wanted) // its publisher is a moment behind, or comes back with NATS
}

// short makes one line of a text that a service has a part in.
func short(s string) string {
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, "\u00a0", " ")), " ")
	if len(s) <= maxProblem {
		return s
	}
	return strings.ToValidUTF8(s[:maxProblem], "") + "…"
}
