package service

import (
	"sync"
	"time"
)

// Bounds of what is remembered briefly.
const (
	brieflyTime = time.Second
	brieflyMax  = 20_000
)

// briefly remembers values for at most a second, which is how old an answer may be when another process has changed what it
// rests on. All of it is forgotten together, so nothing has to be tracked.
type briefly[V any] struct {
	now   Clock
	mu    sync.RWMutex
	since time.Time
	byKey map[string]V
}

func newBriefly[V any](now Clock) *briefly[V] {
	return &briefly[V]{now: now, byKey: make(map[string]V)}
}

func (b *briefly[V]) get(key string) (V, bool) {
	now := b.now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	if age := now.Sub(b.since); age < 0 || age >= brieflyTime {
		var none V
		return none, false
	}
	v, ok := b.byKey[key]
	return v, ok
}

// put remembers what was read at a time.
func (b *briefly[V]) put(key string, v V, read time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	age := read.Sub(b.since)
	if age < 0 { // it was read before something was forgotten
		return
	}
	if age >= brieflyTime || len(b.byKey) >= brieflyMax {
		b.since = read
		clear(b.byKey)
	}
	b.byKey[key] = v
}

// forget forgets everything, after this process has changed something.
func (b *briefly[V]) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.since = b.now()
	clear(b.byKey)
}
