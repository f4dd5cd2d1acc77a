package service

import (
	"container/heap"
	"sync"
)

// schedule tells which instance is to be checked next: a heap by time. An instance that is being checked is not in it.
type schedule struct {
	mu    sync.Mutex
	queue queue
	woken chan struct{} // holds a token when the first of the queue is another one
}

func (s *schedule) init() { s.woken = make(chan struct{}, 1) }

// at puts a member into the queue, or moves it there; one that is being checked comes again after that.
func (s *schedule) at(m *member, due int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.slot >= 0:
		m.due = due
		heap.Fix(&s.queue, m.slot)
	case m.slot == running:
		m.hurried = true
		return
	default:
		m.due = due
		heap.Push(&s.queue, m)
	}
	if s.queue[0] == m {
		select {
		case s.woken <- struct{}{}:
		default:
		}
	}
}

// What a slot says of a member that is in no heap.
const (
	idle    = -1
	running = -2
)

// take gives the first member if it is due, and otherwise when it will be; -1 is never.
func (s *schedule) take(now int64) (m *member, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, -1
	}
	if s.queue[0].due > now {
		return nil, s.queue[0].due
	}
	m = heap.Pop(&s.queue).(*member)
	m.slot = running
	return m, 0
}

// back puts a member that was checked into the queue again: at now if it was asked for meanwhile.
func (s *schedule) back(m *member, now, due int64) {
	s.mu.Lock()
	m.slot = idle
	if m.hurried {
		m.hurried, due = false, now
	}
	gone := m.gone.Load()
	s.mu.Unlock()
	if !gone {
		s.at(m, due)
	}
}

// remove takes a member out.
func (s *schedule) remove(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.slot >= 0 {
		heap.Remove(&s.queue, m.slot)
	}
}

// queue is the heap.
type queue []*member

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot, q[j].slot = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	m := x.(*member)
	m.slot = len(*q)
	*q = append(*q, m)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	m := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	m.slot = idle
	return m
}
