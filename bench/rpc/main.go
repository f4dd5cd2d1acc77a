// Command rpc measures what a call costs its caller: 64 callers in one process, the server in another, in turns.
//
//	go run ./bench/rpc [-rounds 5] [-time 1s] [-callers 64]
//
// It prints, as the median of the rounds, the CPU time of the client's process per call (user and system) and calls per
// second. The contenders: micromesh/pkg/rpc/client with messages and with encoded bytes, and go-micro's client/grpc, all
// three against one go-micro gRPC server; and go-micro's default client against its default server, over HTTP.
package main

import (
	"context"
	"flag"
	"io"
	"strconv"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/figure"
)

func main() { child.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	plan := figure.Plan{Title: "a call of 99 bytes", Unit: "call"}
	flags := flag.NewFlagSet("rpc", flag.ContinueOnError)
	flags.IntVar(&plan.Rounds, "rounds", 5, "rounds")
	flags.DurationVar(&plan.Each, "time", time.Second, "time for each contender in a round")
	callers := flags.Int("callers", 64, "callers")
	role := flags.String("role", "", "what this process is (set by the parent)")
	address := flags.String("address", "", "the server's address (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *role != "" {
		return play(ctx, *role, *address, *callers)
	}
	var family child.Family
	defer family.Stop()
	contenders, err := start(ctx, &family, *callers)
	if err != nil {
		return err
	}
	return figure.Compare(ctx, out, plan, contenders)
}

// start starts the servers, and the clients of each.
func start(ctx context.Context, family *child.Family, callers int) ([]figure.Contender, error) {
	var all []figure.Contender
	var address string
	for _, c := range []struct{ name, role, bound string }{
		{role: "grpc-server"},
		{"micromesh/pkg/rpc/client", "ours", "40 µs"},
		{"the same, Raw", "ours-raw", "40 µs"},
		{"go-micro's client/grpc", "micro-grpc", ""},
		{role: "http-server"},
		{"go-micro's default client and server", "micro-http", ""},
	} {
		var hello string
		p, err := family.Start(ctx, c.role, &hello, "-address", address, "-callers", strconv.Itoa(callers))
		if err != nil {
			return nil, err
		}
		if c.name == "" { // the server of those that follow
			address = hello
			continue
		}
		all = append(all, figure.Contender{Name: c.name, Bound: c.bound, CPU: p.CPU, Load: func(_ context.Context, d time.Duration) (n int64, err error) {
			return n, p.Order(d.String(), &n)
		}})
	}
	return all, nil
}
