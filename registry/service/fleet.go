package service

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"micromesh/pkg/routing"
)

// member is an instance with what is measured of it.
type member struct {
	mu sync.Mutex // over changing current
	// current is replaced as a whole: readers see one version of it.
	current atomic.Pointer[Instance]
	gone    atomic.Bool

	known    int64        // when it was put into the fleet: Service.order
	beat     atomic.Int64 // when it was registered last: Service.elapsed
	lastBeat atomic.Int64 // when the last heartbeat came, for people: microseconds of Unix time
	stored   atomic.Int64 // what the database has of it, as far as is known

	flushed atomic.Int64 // the last heartbeat that was stored

	counted int64 // when the last registration came that counts towards beating: Service.elapsed; under mu
	again   int   // how many in a row did; under mu

	noted atomic.Bool // that it beats is stored

	// What follows belongs to whoever checks the instance: there is one at a time.
	failures int
	unproved int   // checks since its registration that got no proof
	refused  int64 // when the first of the refusals in a row was seen, and when it was answered last: Service.elapsed; -1 is never
	answered int64

	beating atomic.Bool // counted in Service.beating
	suspect atomic.Bool // counted in Service.suspects

	// What follows belongs to the schedule.
	slot    int   // in its heap, or idle, or running
	due     int64 // when it is checked next
	hurried bool  // it is to be checked again at once after the check that runs
}

func newMember(in Instance) *member {
	m := &member{slot: idle, counted: -1, refused: -1, answered: -1}
	m.current.Store(&in)
	return m
}

// change replaces the current version and gives the new one.
func (m *member) change(fn func(*Instance)) Instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.current.Load()
	fn(&next)
	m.current.Store(&next)
	return next
}

// fleet is all instances, by id and by place.
type fleet struct {
	mu      sync.RWMutex
	byID    map[string]*member
	byPlace map[string]*member
	aliases map[string][]*member // further ones at a place, of the same account
	bySlug  map[string]int       // how many, with those that are being added
}

func (f *fleet) init() {
	f.byID, f.byPlace, f.aliases, f.bySlug = map[string]*member{}, map[string]*member{}, map[string][]*member{}, map[string]int{}
}

// find returns the member with an id and the one at a URL, each nil if it doesn't exist. The zero URL has no member.
func (f *fleet) find(id string, url routing.URL) (byID, byURL *member) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	byID = f.byID[id]
	if url == (routing.URL{}) {
		return byID, nil
	}
	for m := range f.at(place(url)) {
		if m.current.Load().URL == url {
			return byID, m
		}
	}
	return byID, nil
}

// holder returns the member of another account at the place of a URL, or nil. Its URL may be spelled in another way.
func (f *fleet) holder(slug string, url routing.URL) *member {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for m := range f.at(place(url)) {
		if m.current.Load().Slug != slug {
			return m
		}
	}
	return nil
}

// place returns the address and the path of a URL: all URLs of one place belong to one account. The scheme doesn't matter, and localhost has
// two addresses. Other addresses of loopback are separate places, since programs can listen at each.
func place(url routing.URL) string {
	if url.Host == "127.0.0.1" || url.Host == "::1" || strings.HasSuffix(url.Host, ".localhost") {
		url.Host = "localhost"
	}
	return url.HostPort() + url.Path
}

// at returns the members at a place.
func (f *fleet) at(place string) iter.Seq[*member] {
	return func(yield func(*member) bool) {
		if m := f.byPlace[place]; m == nil || !yield(m) {
			return
		}
		for _, m := range f.aliases[place] {
			if !yield(m) {
				return
			}
		}
	}
}

// settle puts a member at the place of its URL.
func (f *fleet) settle(m *member) {
	at := place(m.current.Load().URL)
	switch first := f.byPlace[at]; {
	case first == nil || first.current.Load().URL == m.current.Load().URL:
		f.byPlace[at] = m
	default:
		others := slices.DeleteFunc(f.aliases[at], func(o *member) bool { return o.current.Load().URL == m.current.Load().URL })
		f.aliases[at] = append(others, m)
	}
}

// unsettle takes a member away from the place of a URL, if it is there.
func (f *fleet) unsettle(m *member, url routing.URL) {
	at := place(url)
	others := slices.DeleteFunc(f.aliases[at], func(o *member) bool { return o == m })
	if f.byPlace[at] == m {
		delete(f.byPlace, at)
		if len(others) > 0 {
			f.byPlace[at], others = others[0], others[1:]
		}
	}
	if len(others) == 0 {
		delete(f.aliases, at)
	} else {
		f.aliases[at] = others
	}
}

// claim counts one more instance of a slug, unless it has as many as it may.
func (f *fleet) claim(slug string, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bySlug[slug] >= most {
		return false
	}
	f.bySlug[slug]++
	return true
}

// release takes back a claim.
func (f *fleet) release(slug string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uncount(slug)
}

func (f *fleet) uncount(slug string) {
	if f.bySlug[slug]--; f.bySlug[slug] == 0 {
		delete(f.bySlug, slug)
	}
}

// put adds a member whose place was claimed, or follows its move from another URL.
func (f *fleet) put(m *member, movedFrom routing.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.gone.Load() {
		return
	}
	in := m.current.Load()
	if movedFrom != (routing.URL{}) {
		f.unsettle(m, movedFrom)
	}
	f.byID[in.ID] = m
	f.settle(m)
}

// welcome adds a member that is stored, however many its slug has.
func (f *fleet) welcome(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := m.current.Load()
	f.bySlug[in.Slug]++
	f.byID[in.ID] = m
	f.settle(m)
}

// drop takes a member out.
func (f *fleet) drop(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := m.current.Load()
	if f.byID[in.ID] != m {
		return
	}
	m.gone.Store(true)
	delete(f.byID, in.ID)
	f.unsettle(m, in.URL)
	f.uncount(in.Slug)
}

// has reports whether a slug has instances.
func (f *fleet) has(slug string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.bySlug[slug] > 0
}

// of returns the members of a slug.
func (f *fleet) of(slug string) []*member {
	return slices.DeleteFunc(f.all(), func(m *member) bool { return m.current.Load().Slug != slug })
}

// all gives the members of the moment.
func (f *fleet) all() []*member {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]*member, 0, len(f.byID))
	for _, m := range f.byID {
		out = append(out, m)
	}
	return out
}
