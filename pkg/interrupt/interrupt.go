// Package interrupt turns the signals by which people and supervisors end a process into the end of a context.
package interrupt

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Context gives a context that ends with the first interrupt or termination signal. The second one ends the
// process at once, as if nobody had caught it, however soon it follows.
func Context(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case sig := <-signals:
				if n == 0 {
					cancel()
					continue
				}
				signal.Reset(sig)
				if p, err := os.FindProcess(os.Getpid()); err == nil {
					_ = p.Signal(sig) // which ends us
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
