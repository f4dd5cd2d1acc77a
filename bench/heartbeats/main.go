// Command heartbeats measures what a large fleet costs the registry: 10,000 instances of 10 services register at once,
// then each beats every 3 seconds over RPC, while the registry checks their health.
//
//	go run ./bench/heartbeats [-instances 10000] [-every 3s] [-time 30s]
//
// The registry runs in a process of its own, with an embedded NATS server and SQLite, as `micro up` runs it. It prints how
// long the registrations took, the CPU time of the registry's process while the fleet beats (user and system; health
// checks, NATS and the database are in it), its memory, and how many instances were lost: there must be none.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "heartbeats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("heartbeats", flag.ContinueOnError)
	instances := flags.Int("instances", 10_000, "instances, of 10 services; at most 10,000")
	every := flags.Duration("every", 3*time.Second, "time between the heartbeats of one instance")
	length := flags.Duration("time", 30*time.Second, "how long they beat")
	serve := flags.Bool("registry", false, "be the registry (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *serve {
		return registry(ctx, json.NewEncoder(out))
	}
	if *instances < 1 || *instances > 10_000 || *every <= 0 {
		return errors.New("there must be 1 to 10,000 instances, which beat now and then")
	}
	r, err := spawn(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	f, err := newFleet(r.hello, *instances)
	if err != nil {
		return err
	}
	defer f.close()
	return measure(ctx, out, r, f, *every, *length)
}

func measure(ctx context.Context, out io.Writer, r *process, f *fleet, every, length time.Duration) error {
	took, err := f.registerAll(ctx)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	fmt.Fprintf(out, "registered %d instances in %v\n", len(f.bodies), took.Round(time.Millisecond))
	settled, err := f.settle(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "all healthy %v later\n", settled.Round(time.Millisecond))
	before, err := r.usage()
	if err != nil {
		return err
	}
	start := time.Now()
	beats, err := f.beat(ctx, every, length)
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	passed := time.Since(start)
	after, err := r.usage()
	if err != nil {
		return err
	}
	cpu := after.CPU - before.CPU
	fmt.Fprintf(out, "%d heartbeats in %v (%.0f a second, %.0f were due)\n", beats, passed.Round(time.Millisecond),
		float64(beats)/passed.Seconds(), float64(len(f.bodies))/every.Seconds())
	fmt.Fprintf(out, "CPU of the registry's process: %.0f%% of a core, %.1f µs a heartbeat with its share of the health checks\n",
		100*cpu.Seconds()/passed.Seconds(), float64(cpu.Nanoseconds())/1e3/float64(beats))
	fmt.Fprintf(out, "memory: %d MiB\n", after.RSS>>20)
	left, healthy, err := f.count(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "lost instances: %d; not healthy: %d\n", len(f.bodies)-left, left-healthy)
	if left != len(f.bodies) {
		return errors.New("instances expired though they beat")
	}
	return nil
}
