package discovery

import (
	"bytes"
	"time"

	"go-micro.dev/v5/registry"
)

// table is what a Registry knows of the bucket. It has no lock and no clock of its own.
type table struct {
	services map[string]map[string]*entry // by service, by key
	forget   time.Duration                // how long an expired entry is remembered: as long as the bucket may hold it

	dirty   map[string]bool    // services that changed since the last take
	results []*registry.Result // what go-micro's watchers must hear since then
}

// entry is one key of the bucket.
type entry struct {
	key      string
	node     *Node
	raw      []byte
	revision uint64
	seen     time.Time // when the last refresh was seen, on our clock
	signed   time.Time // when its process signed it last; zero if nodes have no signatures
	gone     bool      // its lease ran out; kept so that a resync doesn't bring it back to life
}

func newTable(forget time.Duration) *table {
	return &table{services: map[string]map[string]*entry{}, dirty: map[string]bool{}, forget: forget}
}

// put takes up a value, and when it was signed. The same value again is a refresh. An expired entry is revived by another revision, not by a
// resync that finds the old one.
func (t *table) put(key string, value []byte, at time.Time, revision uint64, now time.Time) error {
	old := t.find(key)
	if old != nil && old.gone && old.revision == revision {
		return nil
	}
	if old != nil && bytes.Equal(old.raw, value) {
		old.seen, old.revision, old.signed = now, revision, at
		if old.gone {
			old.gone = false
			t.changed("create", old.node)
		}
		return nil
	}
	node, err := decode(key, value)
	if err != nil {
		return err
	}
	name := node.registered.Name
	if t.services[name] == nil {
		t.services[name] = map[string]*entry{}
	}
	t.services[name][key] = &entry{key: key, node: node, raw: value, revision: revision, seen: now, signed: at}
	if old == nil || old.gone {
		t.changed("create", node)
	} else {
		t.changed("update", node)
	}
	return nil
}

// remove takes out a key that was deregistered.
func (t *table) remove(key string) {
	if e := t.find(key); e != nil {
		t.delete(e)
		if !e.gone {
			t.changed("delete", e.node)
		}
	}
}

// resynced ends a resync that found the keys of present. Missing nodes expire after grace, or after their lease if that is shorter:
// nodes fill a bucket that lost its content themselves.
func (t *table) resynced(present map[string]bool, grace time.Duration, now time.Time) {
	for _, entries := range t.services {
		for key, e := range entries {
			switch {
			case present[key]:
			case e.gone:
				t.delete(e)
			case grace == 0:
				t.delete(e)
				t.changed("delete", e.node)
			default:
				e.seen = now.Add(-max(e.node.ttl-grace, 0))
			}
		}
	}
}

// due gives the entries whose lease has run out, and forgets those that the bucket can't hold any more.
func (t *table) due(now time.Time) []*entry {
	var due []*entry
	for _, entries := range t.services {
		for _, e := range entries {
			age := now.Sub(e.seen)
			switch {
			case e.gone && age > t.forget+e.node.ttl:
				t.delete(e)
			case !e.gone && age > e.node.ttl:
				due = append(due, e)
			}
		}
	}
	return due
}

// expire takes out an entry that is still as it was when it was due.
func (t *table) expire(e *entry, now time.Time) {
	if t.find(e.key) == e && !e.gone && now.Sub(e.seen) > e.node.ttl {
		e.gone = true
		t.changed("delete", e.node)
	}
}

// take gives what changed since the last time: the nodes of each service that did, and what watchers must hear.
func (t *table) take() (changed map[string][]*Node, results []*registry.Result) {
	if len(t.dirty) == 0 {
		return nil, nil
	}
	changed = make(map[string][]*Node, len(t.dirty))
	for name := range t.dirty {
		nodes := make([]*Node, 0, len(t.services[name]))
		for _, e := range t.services[name] {
			if !e.gone {
				nodes = append(nodes, e.node)
			}
		}
		changed[name] = nodes
	}
	results = t.results
	clear(t.dirty)
	t.results = nil
	return changed, results
}

func (t *table) changed(action string, n *Node) {
	t.dirty[n.registered.Name] = true
	t.results = append(t.results, &registry.Result{Action: action, Service: n.registered})
}

func (t *table) find(key string) *entry {
	service, _, err := parseKey(key)
	if err != nil {
		return nil
	}
	return t.services[service][key]
}

func (t *table) delete(e *entry) {
	name := e.node.registered.Name
	delete(t.services[name], e.key)
	if len(t.services[name]) == 0 {
		delete(t.services, name)
	}
}
