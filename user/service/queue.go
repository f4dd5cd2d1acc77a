package service

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Bounds of the queue for a turn to hash a password.
const (
	mostWaiting = 256
	longestWait = 2 * time.Second
)

// queue lets few work at a time, and the others wait. It is fair between client addresses, and between the accounts that one address asks for:
// the one with the fewest turns since the queue was idle comes next.
type queue struct {
	size    int
	mu      sync.Mutex
	free    int
	waiting []*waiter
	served  map[string]int // by address, and by address and account
}

// waiter is one that waits. Its channel gets true when it is its turn, and false when it must give way.
type waiter struct {
	address, account string // account is unique among all addresses
	turn             chan bool
}

func newQueue(size int) *queue { return &queue{size: size, free: size, served: map[string]int{}} }

// enter waits for a turn, which ends when leave is called.
//
// Errors: Unavailable if too many wait, and after the longest wait.
func (q *queue) enter(ctx context.Context, address, account string) (leave func(), err error) {
	w := &waiter{address: address, account: address + "\n" + account, turn: make(chan bool, 1)}
	if !q.join(w) {
		return nil, errHashBusy
	}
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	select {
	case mine := <-w.turn:
		if !mine {
			return nil, errHashBusy
		}
		return q.leave, nil
	case <-timer.C:
		err = errHashBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		return nil, err
	}
	if <-w.turn { // it came at the same moment
		return q.leave, nil
	}
	return nil, errHashBusy
}

// join puts a waiter into the queue, and reports whether there was room. If the queue is full, the address with the most waiters gives way to
// one with fewer.
func (q *queue) join(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= mostWaiting && !q.makeRoom(w) {
		return false
	}
	q.waiting = append(q.waiting, w)
	q.next()
	return true
}

func (q *queue) makeRoom(w *waiter) bool {
	count := map[string]int{}
	for _, o := range q.waiting {
		count[o.address]++
		count[o.account]++
	}
	last := func(key func(*waiter) string) int { // the latest of those whose key waits most often
		at := 0
		for i, o := range q.waiting {
			if count[key(o)] >= count[key(q.waiting[at])] {
				at = i
			}
		}
		return at
	}
	at := last(func(o *waiter) string { return o.address })
	if busiest := q.waiting[at].address; busiest == w.address {
		at = last(func(o *waiter) string {
			if o.address != busiest {
				return ""
			}
			return o.account
		})
		if count[q.waiting[at].account] <= count[w.account]+1 {
			return false
		}
	} else if count[busiest] <= count[w.address]+1 {
		return false
	}
	q.waiting[at].turn <- false
	q.waiting = slices.Delete(q.waiting, at, at+1)
	return true
}

// next gives free places to those who were served least.
func (q *queue) next() {
	for q.free > 0 && len(q.waiting) > 0 {
		at := 0
		for i, w := range q.waiting {
			best := q.waiting[at]
			if cmp.Or(cmp.Compare(q.served[w.address], q.served[best.address]), cmp.Compare(q.served[w.account], q.served[best.account])) < 0 {
				at = i
			}
		}
		w := q.waiting[at]
		q.waiting = slices.Delete(q.waiting, at, at+1)
		q.free--
		q.served[w.address]++
		q.served[w.account]++
		w.turn <- true
	}
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free++
	if q.next(); q.free == q.size {
		clear(q.served)
	}
}
