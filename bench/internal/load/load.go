// Package load asks what is measured as much as it can answer, and serves what is asked for. What is between it and the
// socket is little, so that it costs little beside what it measures.
package load

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Open makes the i-th caller of a load: what it calls, and what ends it.
type Open func(ctx context.Context, i int) (call func() error, end func(), err error)

// Run lets callers call for a while, each as soon as its call before was answered, and counts the answers. The first
// error ends it.
func Run(ctx context.Context, callers int, d time.Duration, open Open) (int64, error) {
	var answers atomic.Int64
	until := time.Now().Add(d)
	group, ctx := errgroup.WithContext(ctx)
	for i := range callers {
		group.Go(func() error {
			call, end, err := open(ctx, i)
			if err != nil {
				return err
			}
			defer end()
			for time.Now().Before(until) && ctx.Err() == nil {
				if err := call(); err != nil {
					return err
				}
				answers.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return answers.Load(), err
}
