// Command rpc measures what a call costs its caller: 64 callers in one process, the server in another, in turns, so that
// what else the machine does falls on all alike.
//
//	go run ./bench/rpc [-rounds 5] [-time 1s] [-callers 64]
//
// It prints, as the median of the rounds, calls per second and the CPU time of the client's process per call (user and
// system). The contenders: micromesh/pkg/rpc/client with messages and with encoded bytes, and go-micro's client/grpc, all
// three against one go-micro gRPC server; and go-micro's default client against its default server, over HTTP.
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
		fmt.Fprintln(os.Stderr, "rpc:", err)
		os.Exit(1)
	}
}

// result is one round of one contender.
type result struct {
	Calls int
	Took  time.Duration
	CPU   time.Duration
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("rpc", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "rounds")
	each := flags.Duration("time", time.Second, "time for each contender in a round")
	callers := flags.Int("callers", 64, "callers")
	role := flags.String("role", "", "what this process is (set by the parent)")
	address := flags.String("address", "", "the server's address (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role != "" {
		return play(ctx, *role, *address, *callers, out)
	}
	if *rounds < 1 {
		return errors.New("there must be a round")
	}
	c, err := start(ctx, *callers)
	defer c.stop()
	if err != nil {
		return err
	}
	results := make(map[string][]result)
	for i := range *rounds + 1 {
		for _, p := range c.clients {
			r, err := p.round(*each)
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			if i > 0 { // the first is for connections, pools and code to get warm
				results[p.name] = append(results[p.name], r)
			}
		}
	}
	return report(out, c.clients, results)
}

func report(out io.Writer, clients []*process, results map[string][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "a call of 99 bytes\tcalls/s\tCPU µs a call\t")
	for _, p := range clients {
		rs := results[p.name]
		rate := median(rs, func(r result) float64 { return float64(r.Calls) / r.Took.Seconds() })
		cpu := median(rs, func(r result) float64 { return float64(r.CPU.Nanoseconds()) / 1e3 / float64(r.Calls) })
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t\n", p.name, rate, cpu)
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
