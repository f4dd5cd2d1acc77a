package service

import (
	"sync/atomic"
	"time"
)

// The budget of a group's retries, in tokens. Instances that all fail must not get a multiple of their requests because of it.
// Compare Finagle's RetryBudget and Envoy's retry_budget.
const (
	aRetry  = 20          // tokens, of which each request brings one: retries add a twentieth
	reserve = 30 * aRetry // for groups with few requests: an instance that dies takes its connections with it
	fading  = 5           // each second, a fifth of what is more than the reserve is gone: it covers a burst, not what was long ago
)

// budget is what a group may still retry. It is safe for concurrent use.
type budget struct {
	tokens atomic.Int64
	second atomic.Int64 // of the last request
}

func newBudget() *budget {
	b := &budget{}
	b.tokens.Store(reserve)
	return b
}

// earn counts a request.
func (b *budget) earn(now time.Time) {
	b.tokens.Add(1)
	second := now.Unix()
	last := b.second.Load()
	if second == last || !b.second.CompareAndSwap(last, second) {
		return
	}
	switch more := b.tokens.Load() - reserve; {
	case more > 0 && second-last > 2*fading:
		b.tokens.Add(-more)
	case more > 0:
		b.tokens.Add(-more / fading)
	default:
		b.tokens.Add(min(aRetry, -more))
	}
}

// spend takes a retry, and tells false where there is none.
func (b *budget) spend() bool {
	if b.tokens.Add(-aRetry) >= 0 {
		return true
	}
	b.tokens.Add(aRetry)
	return false
}

// Count counts a request, which pays for a part of a retry. A nil group has none.
func (g *Group) Count(now time.Time) {
	if g != nil {
		g.retries.earn(now)
	}
}

// Retry tells whether a request may be sent to another instance, and counts that it is. The group
// is not nil.
func (g *Group) Retry() bool { return g.retries.spend() }
