// Command forward measures what forwarding an HTTP request costs: a 1 KiB answer, 64 connections that stay open, each
// proxy in a process of its own, in turns, so that what else the machine does falls on all alike.
//
//	go run ./bench/forward [-rounds 5] [-time 2s] [-conns 64]
//
// It prints, as the median of the rounds, requests per second and the CPU time of the proxy's process per request (user and
// system, from /proc; so it runs on Linux). CPU per request is the figure that compares between machines that are busy with
// other things. The contenders: no proxy at all, micromesh/gateway/http1, net/http's ReverseProxy with its transport
// tuned, and nginx if it is installed.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

// result is one round of one contender.
type result struct {
	perSecond float64
	cpu       time.Duration // of the proxy, for one request
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "rounds")
	each := flags.Duration("time", 2*time.Second, "time for each contender in a round")
	conns := flags.Int("conns", 64, "connections")
	role := flags.String("role", "", "what this process serves as (set by the parent)")
	upstream := flags.String("upstream", "", "the upstream's address (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role != "" {
		return serve(ctx, *role, *upstream, out)
	}
	contenders, err := start(ctx)
	for _, c := range contenders {
		defer c.stop()
	}
	if err != nil {
		return err
	}
	results := make(map[string][]result)
	for range *rounds {
		for _, c := range contenders {
			r, err := measure(ctx, c, *conns, *each)
			if err != nil {
				return fmt.Errorf("measure %s: %w", c.name, err)
			}
			results[c.name] = append(results[c.name], r)
		}
	}
	return report(out, contenders, results)
}

// measure loads a contender for a while.
func measure(ctx context.Context, c *contender, conns int, d time.Duration) (result, error) {
	if _, err := load(ctx, c.address, conns, d/10); err != nil { // connections, pools and code get warm
		return result{}, err
	}
	before, err := c.cpu()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	n, err := load(ctx, c.address, conns, d)
	if err != nil {
		return result{}, err
	}
	took := time.Since(start)
	after, err := c.cpu()
	if err != nil {
		return result{}, err
	}
	if n == 0 {
		return result{}, errors.New("no request was answered")
	}
	return result{perSecond: float64(n) / took.Seconds(), cpu: (after - before) / time.Duration(n)}, nil
}

func report(out io.Writer, contenders []*contender, results map[string][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "forwarding 1 KiB\trequests/s\tCPU µs a request\t")
	for _, c := range contenders {
		rs := results[c.name]
		rate := median(rs, func(r result) float64 { return r.perSecond })
		cpu := median(rs, func(r result) float64 { return float64(r.cpu.Nanoseconds()) / 1e3 })
		if c.proxy {
			fmt.Fprintf(w, "%s\t%.0f\t%.1f\t\n", c.name, rate, cpu)
		} else {
			fmt.Fprintf(w, "%s\t%.0f\t–\t\n", c.name, rate)
		}
	}
	return w.Flush()
}

func median[T any, V cmp.Ordered](s []T, value func(T) V) V {
	vs := make([]V, 0, len(s))
	for _, x := range s {
		vs = append(vs, value(x))
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}
