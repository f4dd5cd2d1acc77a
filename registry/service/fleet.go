package service

import (
	"slices"
	"sync"
	"sync/atomic"
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

// fleet is all instances, by id and by URL.
type fleet struct {
	mu     sync.RWMutex
	byID   map[string]*member
	byURL  map[string]*member
	bySlug map[string]int // how many, with those that are being added
}

func (f *fleet) init() {
	f.byID, f.byURL, f.bySlug = map[string]*member{}, map[string]*member{}, map[string]int{}
}

// find gives the member with an id and the one at a URL, each nil where there is none.
func (f *fleet) find(id, url string) (byID, byURL *member) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.byID[id], f.byURL[url]
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
func (f *fleet) put(m *member, movedFrom string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.gone.Load() {
		return
	}
	in := m.current.Load()
	if movedFrom != "" && f.byURL[movedFrom] == m {
		delete(f.byURL, movedFrom)
	}
	f.byID[in.ID] = m
	f.byURL[in.URL.String()] = m
}

// welcome adds a member that is stored, however many its slug has.
func (f *fleet) welcome(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := m.current.Load()
	f.bySlug[in.Slug]++
	f.byID[in.ID] = m
	f.byURL[in.URL.String()] = m
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
	if u := in.URL.String(); f.byURL[u] == m {
		delete(f.byURL, u)
	}
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
