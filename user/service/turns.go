package service

import (
	"context"
	"sync"
)

// turns lets those who want the same thing in one after the other: whoever comes later then finds it taken, rather than
// spending a hash on it. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when its holder is done
}

// take waits until nobody holds key, and holds it until done is called.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	for {
		t.mu.Lock()
		before, held := t.held[key]
		if !held {
			mine := make(chan struct{})
			if t.held == nil {
				t.held = make(map[string]chan struct{})
			}
			t.held[key] = mine
			t.mu.Unlock()
			return func() { t.release(key, mine) }, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t *turns) release(key string, mine chan struct{}) {
	t.mu.Lock()
	delete(t.held, key)
	t.mu.Unlock()
	close(mine)
}
