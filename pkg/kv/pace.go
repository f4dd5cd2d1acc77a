package kv

import (
	"context"
	"time"
)

// Pace is for loops that follow a bucket: it lets a change through at once, and makes those that come within a while after it
// wait for its end, to be taken up together. So what taking up a change costs, which grows with the bucket, is not paid for
// each of a thousand changes. It is for one goroutine.
type Pace struct {
	Gap time.Duration // the least time between two beginnings

	began time.Time
	rest  time.Duration // from then on
}

const (
	resting = 5                      // times as long as the work took: a loop takes a fifth of a core at most
	longest = 100 * time.Millisecond // that a change waits for that
)

// Wait waits until the loop may go on, or ctx ends.
func (p *Pace) Wait(ctx context.Context) {
	if left := p.rest - time.Since(p.began); left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.began = time.Now()
}

// Done says that the work is done that Wait made wait.
func (p *Pace) Done() { p.rest = max(p.Gap, min(resting*time.Since(p.began), longest)) }
