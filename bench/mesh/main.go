// Command mesh measures what a request costs the whole mesh, as `micro up` runs it: processor time of its process per
// request, at 64 connections, for requests of several kinds interleaved in one run, with 3,000 and with 300,000 accounts.
//
//	go run ./bench/mesh [-rounds 5] [-round 2s] [-conns 64]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/figure"
	"micromesh/bench/internal/load"
)

func main() { child.Main(run) }

func run(ctx context.Context, args []string, out io.Writer) error {
	plan := figure.Plan{Title: "requests to the whole mesh", Unit: "request"}
	flags := flag.NewFlagSet("mesh", flag.ContinueOnError)
	flags.IntVar(&plan.Rounds, "rounds", 5, "how often each kind is measured")
	flags.DurationVar(&plan.Each, "round", 2*time.Second, "how long each time")
	conns := flags.Int("conns", 64, "connections at a time")
	role := flags.String("role", "", "what this process is (set by the parent)")
	accounts := flags.Int("accounts", 0, "of a mesh: how many accounts it has (set by the parent)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *role {
	case "mesh":
		return serveMesh(ctx, *accounts, *conns)
	case "upstream":
		return load.Upstream(ctx)
	}
	return measure(ctx, out, plan, *conns)
}

// hello is what a mesh says when it is ready.
type hello struct {
	Address string
	Tokens  []string // of as many accounts as there are connections
	Idle    int64    // bytes resident, before anything was asked
	Ready   time.Duration
}

// running is a mesh that runs.
type running struct {
	hello
	process *child.Process
}

func start(ctx context.Context, family *child.Family, accounts, conns int) (m running, err error) {
	m.process, err = family.Start(ctx, "mesh", &m.hello, "-accounts", strconv.Itoa(accounts), "-conns", strconv.Itoa(conns))
	return m, err
}

func measure(ctx context.Context, out io.Writer, plan figure.Plan, conns int) error {
	var family child.Family
	defer family.Stop()
	var upstream string
	if _, err := family.Start(ctx, "upstream", &upstream); err != nil {
		return err
	}
	small, err := start(ctx, &family, 3_000, conns)
	if err != nil {
		return err
	}
	large, err := start(ctx, &family, 300_000, conns)
	if err != nil {
		return err
	}
	if err := register(ctx, small.Address, upstream); err != nil {
		return err
	}
	if err := figure.Compare(ctx, out, plan, contenders(small, large, conns)); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return figure.Table(out, [][]string{
		{"an idle mesh", "resident", "bound", "ready after", "bound"},
		small.idle("with 3,000 accounts"),
		large.idle("with 300,000 accounts"),
	})
}

func (m running) idle(name string) []string {
	return []string{name, fmt.Sprintf("%.0f MB", float64(m.Idle)/1e6), "120 MB", m.Ready.Round(time.Millisecond).String(), "2s"}
}

func contenders(small, large running, conns int) []figure.Contender {
	var all []figure.Contender
	for _, k := range []struct {
		name, bound string
		mesh        running
		request     func(i int) []byte
	}{
		{"GET /healthz: the gateway answers itself", "", small, get("/healthz", nil)},
		{"GET /bench-svc/x: forwarded, 1 KiB", "30 µs", small, get("/bench-svc/x", nil)},
		{"the same, signed in", "+3 µs", small, get("/bench-svc/x", small.Tokens)},
		{"POST /user-svc/self, 3,000 accounts", "250 µs", small, post("/user-svc/self", small.Tokens)},
		{"POST /user-svc/self, 300,000 accounts", "the same", large, post("/user-svc/self", large.Tokens)},
		{"POST /user-svc/self/has/…, 3,000 accounts", "150 µs", small, post("/user-svc/self/has/bench-svc:pet:edit", small.Tokens)},
		{"POST /user-svc/self/has/…, 300,000 accounts", "the same", large, post("/user-svc/self/has/bench-svc:pet:edit", large.Tokens)},
	} {
		http := load.HTTP{Address: k.mesh.Address, Conns: conns, Request: k.request}
		all = append(all, figure.Contender{Name: k.name, Bound: k.bound, CPU: k.mesh.process.CPU, Load: http.Run})
	}
	return all
}

func get(path string, tokens []string) func(int) []byte { return request("GET", path, tokens, "") }

func post(path string, tokens []string) func(int) []byte {
	return request("POST", path, tokens, "Content-Type: application/json\r\nContent-Length: 2\r\n")
}

func request(method, path string, tokens []string, more string) func(int) []byte {
	return func(i int) []byte {
		s := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n" + more
		if len(tokens) > 0 {
			s += "Authorization: Bearer " + tokens[i%len(tokens)] + "\r\n"
		}
		s += "\r\n"
		if more != "" {
			s += "{}"
		}
		return []byte(s)
	}
}
