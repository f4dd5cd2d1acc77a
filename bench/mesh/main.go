// Command mesh measures what a request costs the whole mesh, as `micro up` runs it: processor time of its process per
// request, at 64 connections, for requests of several kinds interleaved in one run, with 3,000 and with 300,000 accounts.
//
//	go run ./bench/mesh [-rounds 5] [-round 2s] [-conns 64]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"micromesh/bench/internal/wire"
)

func main() {
	role := flag.String("role", "", "what a process that this one starts does")
	accounts := flag.Int("accounts", 0, "of a mesh: how many accounts it has")
	rounds := flag.Int("rounds", 5, "how often each kind is measured")
	round := flag.Duration("round", 2*time.Second, "how long each time")
	conns := flag.Int("conns", 64, "connections at a time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *role, *accounts, *rounds, *round, *conns)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mesh:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, role string, accounts, rounds int, round time.Duration, conns int) error {
	switch role {
	case "mesh":
		return serveMesh(ctx, accounts, conns)
	case "upstream":
		return serveUpstream(ctx)
	}
	return measure(ctx, rounds, round, conns)
}

// hello is what a process says when it is ready.
type hello struct {
	Address string
	Tokens  []string // of as many accounts as there are connections
	Idle    int64    // bytes resident, before anything was asked
	Ready   time.Duration
}

// process is one that this one has started; it ends when its input does.
type process struct {
	hello
	cmd *exec.Cmd
	in  io.Closer
}

func spawn(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, args...)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReaderSize(out, 1<<20).ReadBytes('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	return p, json.Unmarshal(line, &p.hello)
}

func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait() // it may have failed, which was reported where it mattered
}

// kind is a kind of request to one mesh.
type kind struct {
	name    string
	mesh    *process
	request func(i int) []byte
	perCall []time.Duration
	rate    []float64
}

func measure(ctx context.Context, rounds int, round time.Duration, conns int) error {
	up, err := spawn(ctx, "-role", "upstream")
	if err != nil {
		return err
	}
	defer up.stop()
	small, err := spawn(ctx, "-role", "mesh", "-accounts", "3000", "-conns", strconv.Itoa(conns))
	if err != nil {
		return err
	}
	defer small.stop()
	large, err := spawn(ctx, "-role", "mesh", "-accounts", "300000", "-conns", strconv.Itoa(conns))
	if err != nil {
		return err
	}
	defer large.stop()
	if err := register(ctx, small, up.Address); err != nil {
		return err
	}
	kinds := kindsOf(small, large)
	for r := range rounds {
		for i := range kinds {
			if err := kinds[i].measure(ctx, conns, round); err != nil {
				return fmt.Errorf("%s: %w", kinds[i].name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", r+1, rounds)
	}
	report(kinds)
	fmt.Printf("\nidle, with 3,000 accounts: %.0f MB resident, %s to ready\n", float64(small.Idle)/1e6, small.Ready.Round(time.Millisecond))
	fmt.Printf("idle, with 300,000 accounts: %.0f MB resident, %s to ready\n", float64(large.Idle)/1e6, large.Ready.Round(time.Millisecond))
	return nil
}

func kindsOf(small, large *process) []kind {
	return []kind{
		{name: "GET /healthz: the gateway answers itself", mesh: small, request: get("/healthz", nil)},
		{name: "GET /bench-svc/x: forwarded, 1 KiB", mesh: small, request: get("/bench-svc/x", nil)},
		{name: "the same, signed in", mesh: small, request: get("/bench-svc/x", small.Tokens)},
		{name: "POST /user-svc/self, 3,000 accounts", mesh: small, request: post("/user-svc/self", small.Tokens)},
		{name: "POST /user-svc/self, 300,000 accounts", mesh: large, request: post("/user-svc/self", large.Tokens)},
		{name: "POST /user-svc/self/has/…, 3,000 accounts", mesh: small, request: post("/user-svc/self/has/bench-svc:pet:edit", small.Tokens)},
		{name: "POST /user-svc/self/has/…, 300,000 accounts", mesh: large, request: post("/user-svc/self/has/bench-svc:pet:edit", large.Tokens)},
	}
}

func (k *kind) measure(ctx context.Context, conns int, d time.Duration) error {
	pid := k.mesh.cmd.Process.Pid
	before, err := wire.CPU(pid)
	if err != nil {
		return err
	}
	n, err := wire.Load(ctx, k.mesh.Address, conns, d, k.request)
	if err != nil {
		return err
	}
	after, err := wire.CPU(pid)
	if err != nil {
		return err
	}
	k.perCall = append(k.perCall, (after-before)/time.Duration(n))
	k.rate = append(k.rate, float64(n)/d.Seconds())
	return nil
}

func report(kinds []kind) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "CPU a request\tleast\tmost\trequests/s\t  request")
	for _, k := range kinds {
		slices.Sort(k.perCall)
		slices.Sort(k.rate)
		us := func(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1e3) }
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t  %s\n", us(k.perCall[len(k.perCall)/2]), us(k.perCall[0]), us(k.perCall[len(k.perCall)-1]), k.rate[len(k.rate)/2], k.name)
	}
	_ = w.Flush()
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
