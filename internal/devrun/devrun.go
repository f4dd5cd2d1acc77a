// Package devrun runs a service while its author works on it: it builds it, starts it, and starts it anew when its sources have
// changed. What `micro run` does.
package devrun

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Config says what to run. All of it must be set.
type Config struct {
	Dir     string // of the service
	Environ []string
	Stdout  io.Writer                        // what the service says
	Stderr  io.Writer                        // likewise
	Tell    func(format string, args ...any) // a line of what happens
}

// look is how often sources are looked at. What has changed is taken up when it was the same twice: whoever writes many files
// is let finish.
const look = 200 * time.Millisecond

// Run runs the service until ctx ends.
//
// The program's main must have called protogen.Plugin.
//
// Errors: what is wrong with the folder. A build that fails is told, and waits for a change.
func Run(ctx context.Context, cfg Config) error {
	p, err := Find(cfg.Dir)
	if err != nil {
		return err
	}
	state, err := p.State()
	if err != nil {
		return err
	}
	r := &runner{cfg: cfg, program: p, state: state}
	defer r.stop()
	seen, err := p.sources()
	if err != nil {
		return err
	}
	r.told(ctx, r.renew(ctx))
	for ctx.Err() == nil {
		now, err := r.change(ctx, seen)
		if err != nil || now == nil {
			return err
		}
		seen, err = r.take(ctx, seen, now)
		r.told(ctx, err)
	}
	return nil
}

// told tells why the service was not started, which its author will mend.
func (r *runner) told(ctx context.Context, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
	case r.running != nil:
		r.cfg.Tell("%v\nthe service goes on as it was: waiting for a change", err)
	default:
		r.cfg.Tell("%v\nwaiting for a change", err)
	}
}

// runner runs a program, one process of it at a time.
type runner struct {
	cfg     Config
	program *Program
	state   string
	running *running // nil where none was started
}

// change waits until sources differ from those that were seen, and have come to rest. It gives nil where ctx ends first.
func (r *runner) change(ctx context.Context, seen snapshot) (snapshot, error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	last := seen
	for {
		var ended <-chan struct{}
		if r.running != nil && !r.running.told {
			ended = r.running.ended
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // there is nothing to do any more
		case <-ended:
			r.running.told = true
			r.cfg.Tell("the service has ended: %s: waiting for a change", r.running.how())
			continue
		case <-tick.C:
		}
		now, err := r.program.sources()
		if err != nil {
			return nil, err
		}
		if !now.equal(seen) && now.equal(last) {
			return now, nil
		}
		last = now
	}
}

// take takes up what has changed, and gives the sources as they are then: generated code is among them.
func (r *runner) take(ctx context.Context, seen, now snapshot) (snapshot, error) {
	changed := now.since(seen)
	r.cfg.Tell("changed: %s", list(r.program.relative(changed)))
	if slices.ContainsFunc(changed, isProto) {
		written, err := r.program.generate(ctx)
		if err != nil {
			return now, err
		}
		if len(written) > 0 {
			r.cfg.Tell("generated: %s", list(written))
		}
		if now, err = r.program.sources(); err != nil {
			return now, err
		}
	}
	return now, r.renew(ctx)
}

// renew builds the program, and puts a process of it in the place of the one that runs. That goes on where the build fails.
func (r *runner) renew(ctx context.Context) error {
	argv, err := r.program.build(ctx, r.state)
	if err != nil {
		return err
	}
	r.stop()
	if r.running, err = start(argv, r.state, r.cfg); err != nil {
		return err
	}
	r.cfg.Tell("started %s", r.program.Name)
	return nil
}

func (r *runner) stop() {
	if r.running != nil {
		r.running.stop()
		r.running = nil
	}
}

// list names the first few.
func list(files []string) string {
	const most = 3
	text := ""
	for i, f := range files {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(files)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += f
	}
	return text
}
