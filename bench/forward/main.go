// Command forward measures what forwarding an HTTP request costs: a 1 KiB answer, 64 connections that stay open, each
// proxy in a process of its own, in turns.
//
//	go run ./bench/forward [-rounds 5] [-time 2s] [-conns 64] [-method GET]
//
// With -method POST, each request has a body of 1 KiB.
//
// It prints, as the median of the rounds, the CPU time of the proxy's process per request (user and system, from /proc; so
// it runs on Linux) and requests per second. CPU per request is the figure that compares between machines that are busy with
// other things. The contenders: no proxy at all, micromesh/gateway/http1, net/http's ReverseProxy with its transport
// tuned, and nginx if it is installed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/figure"
)

func main() { child.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	plan := figure.Plan{Title: "forwarding 1 KiB", Unit: "request"}
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	flags.IntVar(&plan.Rounds, "rounds", 5, "rounds")
	flags.DurationVar(&plan.Each, "time", 2*time.Second, "time for each contender in a round")
	conns := flags.Int("conns", 64, "connections")
	method := flags.String("method", "GET", "GET or POST")
	role := flags.String("role", "", "what this process serves as (set by the parent)")
	upstream := flags.String("upstream", "", "the upstream's address (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role != "" {
		return play(ctx, *role, *upstream)
	}
	asked := request
	switch *method {
	case "GET":
	case "POST":
		asked = submission()
		plan.Title += ", POST"
	default:
		return fmt.Errorf("method %q: must be GET or POST", *method)
	}
	dir, err := os.MkdirTemp("", "forward")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var family child.Family
	defer family.Stop()
	s := &stage{family: &family, dir: dir, conns: *conns, request: asked}
	if err := s.set(ctx, out); err != nil {
		return err
	}
	return figure.Compare(ctx, out, plan, s.contenders)
}
