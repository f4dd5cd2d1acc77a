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
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/figure"
)

func main() { child.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("heartbeats", flag.ContinueOnError)
	instances := flags.Int("instances", 10_000, "instances, of 10 services; at most 10,000")
	every := flags.Duration("every", 3*time.Second, "time between the heartbeats of one instance")
	length := flags.Duration("time", 30*time.Second, "how long they beat")
	role := flags.String("role", "", "what this process is (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role == "registry" {
		return registry(ctx)
	}
	if *instances < 1 || *instances > 10_000 || *every <= 0 || *length <= 0 {
		return errors.New("there must be 1 to 10,000 instances, which beat now and then")
	}
	var family child.Family
	defer family.Stop()
	var h hello
	r, err := family.Start(ctx, "registry", &h)
	if err != nil {
		return err
	}
	f, err := newFleet(h, *instances)
	if err != nil {
		return err
	}
	defer f.close()
	fmt.Fprintf(out, "heartbeats: %d instances that beat every %v, for %v\n\n", *instances, *every, *length)
	return measure(ctx, out, r, f, *every, *length)
}

func measure(ctx context.Context, out io.Writer, r *child.Process, f *fleet, every, length time.Duration) error {
	took, err := f.registerAll(ctx)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	settled, err := f.settle(ctx)
	if err != nil {
		return err
	}
	before, err := r.CPU()
	if err != nil {
		return err
	}
	start := time.Now()
	beats, err := f.beat(ctx, every, length)
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	passed := time.Since(start)
	after, err := r.CPU()
	if err != nil {
		return err
	}
	memory, err := r.Resident()
	if err != nil {
		return err
	}
	left, healthy, err := f.count(ctx)
	if err != nil {
		return err
	}
	cpu, n := after-before, len(f.bodies)
	err = figure.Table(out, [][]string{
		{"heartbeats", "measured", "bound"},
		{"registering all at once", took.Round(time.Millisecond).String(), ""},
		{"until all are healthy", settled.Round(time.Millisecond).String(), ""},
		{"heartbeats", strconv.Itoa(beats), ""},
		{"heartbeats/s", fmt.Sprintf("%.0f", float64(beats)/passed.Seconds()), fmt.Sprintf("%.0f are due", float64(n)/every.Seconds())},
		{"CPU of the registry's process", fmt.Sprintf("%.0f %% of a core", 100*cpu.Seconds()/passed.Seconds()), ""},
		{"CPU a heartbeat, with its share of the health checks", figure.Micros(cpu / time.Duration(max(beats, 1))), ""},
		{"memory", fmt.Sprintf("%d MiB", memory>>20), ""},
		{"lost instances", strconv.Itoa(n - left), "0"},
		{"unhealthy instances", strconv.Itoa(left - healthy), ""},
	})
	if left != n {
		err = errors.Join(err, errors.New("instances expired though they beat"))
	}
	return err
}
