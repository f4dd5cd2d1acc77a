package service

import (
	"cmp"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Instance is what the control plane says of an instance.
type Instance struct {
	ID, URL string
	Live    bool
}

// HostRoute leads a host, or a path below it, to a URL. ID is "host" or "host/path".
type HostRoute struct {
	ID, Target string
}

// Table is where everything leads. It is replaced whole by Update; lookups never wait.
type Table struct {
	log *slog.Logger

	mu         sync.Mutex // of Update and Close
	had        sync.Map   // slugs whose last instance has left
	remembered int        // how many
	closing    Closing
	places     atomic.Pointer[guardedPlaces] // by which instances were barred last
	// reported are the host routes that were logged as closed, by id.
	reported map[string]bool
	left     func(address string)
	current  atomic.Pointer[tables]
	changed  atomic.Pointer[chan struct{}] // closed, and replaced, by Update
}

type tables struct {
	slugs map[string]*Group
	hosts map[string][]hostRoute // longest path first
	ids   map[string]string      // target by host route id
}

type hostRoute struct {
	path  string // "" or "/a/b"
	group *Group
}

// Group are the instances that requests of one slug, or of one host route, are shared among.
type Group struct {
	Name     string
	key      string // among the slugs
	backends []*Backend
	retries  *budget
	of       []Instance   // what it was made of
	access   atomic.Int32 // of a host route: whether it is closed
}

// NewTable makes an empty table.
func NewTable(log *slog.Logger) *Table {
	t := &Table{log: log}
	t.current.Store(&tables{})
	ch := make(chan struct{})
	t.changed.Store(&ch)
	return t
}

// Changed gives a channel that is closed at the next Update. Take it before looking, so that none is missed.
func (t *Table) Changed() <-chan struct{} { return *t.changed.Load() }

// Update puts a new table in place. Instances that were in the old one keep what was learned about them. What can't be
// understood is logged and left out: it must not cost the rest. Lists of instances must not be changed afterwards: a slug with
// the very list that it had costs next to nothing, which matters where there are thousands and one of them changes.
func (t *Table) Update(slugs map[string][]Instance, hosts []HostRoute) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.current.Load()
	led := map[spot]bool{} // of the groups that change
	next := &tables{slugs: make(map[string]*Group, len(slugs)), hosts: map[string][]hostRoute{}, ids: map[string]string{}}
	changed := []*Group{}
	for slug, instances := range slugs {
		if before := old.slugs[slug]; before != nil && identical(before.of, instances) {
			next.slugs[slug] = before
			continue
		}
		old.slugs[slug].spots(led)
		g := t.group(old.slugs[slug], strings.TrimPrefix(slug, siteKey), instances, accounts)
		g.key = slug
		next.slugs[slug], changed = g, append(changed, g)
	}
	for slug, g := range old.slugs {
		if next.slugs[slug] == nil {
			g.spots(led)
			t.remember(slug)
		}
	}
	for _, h := range hosts {
		host, path := splitHost(h.ID)
		before := old.hostGroup(host, path)
		g := t.group(before, h.ID, []Instance{{ID: h.ID, URL: h.Target, Live: true}}, operators)
		if len(g.backends) == 0 {
			continue
		}
		next.hosts[host] = append(next.hosts[host], hostRoute{path, g})
		next.ids[h.ID] = h.Target
	}
	for _, routes := range next.hosts {
		slices.SortFunc(routes, func(a, b hostRoute) int { return cmp.Compare(len(b.path), len(a.path)) })
	}
	t.mark(next, changed)
	left := next.without(led)
	t.forget(left)
	t.current.Store(next)
	t.forget(left) // for requests that were under way meanwhile
	ch := make(chan struct{})
	close(*t.changed.Swap(&ch))
}

// OnLeft sets a function that Update calls with the address of each live instance that left or is no longer live. It is for
// connections that are kept: another account's program may listen there by now. It must not be set during an Update.
func (t *Table) OnLeft(f func(address string)) { t.left = f }

func (t *Table) forget(addresses []string) {
	for _, address := range addresses {
		if t.left != nil {
			t.left(address)
		}
	}
}

// spot is a live instance at an address.
type spot struct{ slug, id, address string }

// spots adds the live instances of a group, which may be nil.
func (g *Group) spots(to map[spot]bool) {
	if g == nil {
		return
	}
	for _, b := range g.backends {
		if b.Live() {
			to[spot{g.key, b.ID, b.Address}] = true
		}
	}
}

// without returns the addresses of those of some spots that are no more.
func (t *tables) without(spots map[spot]bool) []string {
	var out []string
	for s := range spots {
		b := t.slugs[s.slug].Find(s.id)
		if b == nil || !b.Live() || b.Address != s.address {
			out = append(out, s.address)
		}
	}
	return out
}

// identical tells whether two lists are one and the same.
func identical(a, b []Instance) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

func (t *Table) group(old *Group, name string, instances []Instance, by party) *Group {
	g := &Group{Name: name, backends: make([]*Backend, 0, len(instances)), of: instances}
	if g.retries = newBudget(); old != nil {
		g.retries = old.retries
	}
	for _, i := range instances {
		b := old.find(i.ID, i.URL)
		if b == nil {
			var err error
			if b, err = newBackend(i.ID, name, i.URL, by); err != nil {
				t.log.Warn("instance_left_out", "name", name, "error", err)
				continue
			}
		}
		b.live.Store(i.Live)
		b.group.Store(g)
		g.backends = append(g.backends, b)
	}
	return g
}

// Single makes the group of one URL, which is the table's own only in that what was learned of it in an older one is kept.
//
// Errors: where the gateway can't forward to the URL.
func Single(old *Group, name, url string) (*Group, error) {
	g := &Group{Name: name, retries: newBudget()}
	b := old.find(name, url)
	if old != nil {
		g.retries = old.retries
	}
	if b == nil {
		var err error
		if b, err = newBackend(name, name, url, operators); err != nil {
			return nil, err
		}
	}
	b.live.Store(true)
	b.group.Store(g)
	g.backends = []*Backend{b}
	return g, nil
}

// splitHost splits a route's id into its host and its path, which has no slash at its end.
func splitHost(id string) (host, path string) {
	host, path, _ = strings.Cut(id, "/")
	path = strings.TrimSuffix(path, "/")
	if path != "" {
		path = "/" + path
	}
	return strings.ToLower(host), path
}

func (t *tables) hostGroup(host, path string) *Group {
	for _, r := range t.hosts[host] {
		if r.path == path {
			return r.group
		}
	}
	return nil
}

// mostKnown bounds the slugs that are remembered without an instance.
const mostKnown = 200_000

// Known reports whether a slug has, or had, an instance since the gateway started.
func (t *Table) Known(slug string) bool {
	if t.Slug(slug) != nil {
		return true
	}
	_, had := t.had.Load(slug)
	return had
}

// remember notes that a slug had an instance. The lock is held.
func (t *Table) remember(slug string) {
	if t.remembered >= mostKnown || strings.HasPrefix(slug, siteKey) {
		return
	}
	if _, had := t.had.LoadOrStore(slug, struct{}{}); !had {
		t.remembered++
	}
}

// siteKey begins the keys of sites among the slugs. No slug has it, and no first segment of a path.
const siteKey = "/"

// SiteKey returns the key by which Update is given the instances of a program that was found, rather than registered by an account, under a
// name. No lookup of the slug finds them.
func SiteKey(name string) string { return siteKey + name }

// Site returns the group of a program that was found under a name, or nil.
func (t *Table) Site(name string) *Group { return t.Slug(SiteKey(name)) }

// Slug gives the group of a slug, or nil.
func (t *Table) Slug(slug string) *Group { return t.current.Load().slugs[slug] }

// KnowsHost tells whether a host has a route, whatever the path.
func (t *Table) KnowsHost(host string) bool {
	_, ok := t.current.Load().hosts[hostOnly(host)]
	return ok
}

// Host gives the group of the host route whose path is the longest prefix of the request's, by whole segments; nil
// where none is.
func (t *Table) Host(host, path string) *Group {
	hosts := t.current.Load().hosts
	if len(hosts) == 0 {
		return nil
	}
	for _, r := range hosts[hostOnly(host)] {
		if strings.HasPrefix(path, r.path) && (len(path) == len(r.path) || path[len(r.path)] == '/' || r.path == "") {
			return r.group
		}
	}
	return nil
}

// hostOnly takes a Host header's port away, and the dot that a full name ends in, and folds its case.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Target gives the target of a host route by its id.
func (t *Table) Target(id string) (string, bool) {
	target, ok := t.current.Load().ids[id]
	return target, ok
}

// find gives the backend with an id and a URL. A nil group has none.
func (g *Group) find(id, url string) *Backend {
	if g == nil {
		return nil
	}
	for _, b := range g.backends {
		if b.ID == id && b.URL == url {
			return b
		}
	}
	return nil
}

// Find gives the backend with an id, or nil. A nil group has none.
func (g *Group) Find(id string) *Backend {
	if g == nil {
		return nil
	}
	for _, b := range g.backends {
		if b.ID == id {
			return b
		}
	}
	return nil
}

// ErrNoInstance says that a slug has no live instance that was not tried.
var ErrNoInstance = errors.New("no live instance")

// Pick chooses among the live backends that were not tried yet: of two at random the less loaded one (power of two
// choices). Ejected and silent ones are spared while any other is left. With none live it is ErrNoInstance.
func (g *Group) Pick(now time.Time, tried []*Backend) (*Backend, error) {
	if g == nil {
		return nil, ErrNoInstance
	}
	if b := g.choose(now, tried, func(b *Backend) bool { return b.Live() && !b.spared(now) }); b != nil {
		return b, nil
	}
	if b := g.choose(now, tried, (*Backend).Live); b != nil {
		return b, nil
	}
	return nil, ErrNoInstance
}

// Elsewhere chooses for a request that was abandoned at a backend: any other one, also one that it was tried on before and that
// answers again.
func (g *Group) Elsewhere(now time.Time, than *Backend) (*Backend, error) {
	if b := g.choose(now, nil, func(b *Backend) bool { return b != than && b.well(now) }); b != nil {
		return b, nil
	}
	return nil, ErrNoInstance
}

// choose draws two of the backends that fit, and gives the less loaded. It allocates nothing.
func (g *Group) choose(now time.Time, tried []*Backend, fits func(*Backend) bool) *Backend {
	var first, second *Backend
	n := 0
	for _, b := range g.backends {
		if !fits(b) || slices.Contains(tried, b) {
			continue
		}
		n++
		switch n { // reservoir sampling of two
		case 1:
			first = b
		case 2:
			second = b
		default:
			if i := rand.IntN(n); i == 0 {
				first = b
			} else if i == 1 {
				second = b
			}
		}
	}
	if second == nil {
		return first
	}
	a, b := first.load(now), second.load(now)
	if a < b || (a == b && rand.IntN(2) == 0) {
		return first
	}
	return second
}

// Size is how many instances the group has, live or not. A nil group has none.
func (g *Group) Size() int {
	if g == nil {
		return 0
	}
	return len(g.backends)
}
