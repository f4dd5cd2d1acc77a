// Command first measures how long it takes from `micro new` to the first answer of the new service through the gateway, and how
// much of that is the mesh's own code, beside what Go takes to build the service; and how long the code of the mesh's own services
// takes to be generated. Run it in the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"micromesh/bench/internal/figure"
)

const (
	patience   = 5 * time.Minute
	totalBound = 60 * time.Second
	ownBound   = 2 * time.Second
	genBound   = 2 * time.Second
)

func main() {
	rounds := flag.Int("rounds", 3, "how often each is measured; the median counts")
	flag.Parse()
	if err := run(context.Background(), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// times are those of one round, in the order in which they come.
type times struct{ write, build, answer time.Duration }

func run(ctx context.Context, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "bench-first")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	micro := filepath.Join(dir, "micro")
	if err := command(ctx, ".", nil, "go", "build", "-o", micro, "./cmd/micro").Run(); err != nil {
		return fmt.Errorf("build micro: %w", err)
	}
	var all []times
	var generated []time.Duration
	for i := range rounds {
		t, err := first(ctx, micro, filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		all = append(all, t)
		d, err := took(command(ctx, ".", nil, micro, "gen", "--check"))
		if err != nil {
			return fmt.Errorf("generate the mesh's own code: %w", err)
		}
		generated = append(generated, d)
	}
	report(all, generated)
	return nil
}

func report(all []times, generated []time.Duration) {
	of := func(f func(times) time.Duration) string {
		var ds []time.Duration
		for _, t := range all {
			ds = append(ds, f(t))
		}
		return seconds(median(ds))
	}
	figure.Table(os.Stdout, [][]string{
		{"", "time", "bound"},
		{"micro new account --crud … --events", of(func(t times) time.Duration { return t.write }), ""},
		{"go build, the first in the new folder", of(func(t times) time.Duration { return t.build }), ""},
		{"micro run, to the first answer", of(func(t times) time.Duration { return t.answer }), ""},
		{"all of it", of(func(t times) time.Duration { return t.write + t.build + t.answer }), seconds(totalBound)},
		{"all of it but Go's build", of(func(t times) time.Duration { return t.write + t.answer }), seconds(ownBound)},
		{"code of the mesh's own services", seconds(median(generated)), seconds(genBound)},
	})
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// first makes a service beside a mesh of its own, and waits for its first answer.
func first(ctx context.Context, micro, dir string) (t times, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return t, err
	}
	up, err := begin(ctx, dir, micro, "up", "--listen", "127.0.0.1:0", "--nats", "127.0.0.1:0")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, up.end()) }()
	gateway, err := up.gateway(ctx)
	if err != nil {
		return t, err
	}
	if t.write, err = took(command(ctx, dir, nil, micro, "new", "account", "--crud", "Widget", "name:string", "price:int32", "--events")); err != nil {
		return t, err
	}
	// Where `micro run` has it, which then finds that nothing is to be built.
	if t.build, err = took(command(ctx, filepath.Join(dir, "account"), nil, "go", "build", "-o", filepath.Join(".micro", "bin", "account"), ".")); err != nil {
		return t, err
	}
	began := time.Now()
	service, err := begin(ctx, dir, micro, "run", "account")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, service.end()) }()
	err = await(ctx, func() bool { return answers(ctx, gateway+"/account-svc/widgets") })
	t.answer = time.Since(began)
	return t, err
}

// answers tells whether a URL leads to the new service: who isn't signed in is told so, and a route that isn't there is not found.
func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return errors.Join(rsp.Body.Close()) == nil && rsp.StatusCode == http.StatusUnauthorized
}

func await(ctx context.Context, holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.New("it takes too long")
		}
	}
	return nil
}

func took(cmd *exec.Cmd) (time.Duration, error) {
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return time.Since(began), nil
}

func command(ctx context.Context, dir string, environ []string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	return cmd
}

// process is one that runs on.
type process struct {
	cmd *exec.Cmd
	dir string
}

func begin(ctx context.Context, dir string, argv ...string) (*process, error) {
	p := &process{cmd: command(ctx, dir, []string{"MICRO_CONFIG=" + filepath.Join(dir, "config.json")}, argv...), dir: dir}
	return p, p.cmd.Start()
}

// gateway waits until `micro up` has written where it answers.
func (p *process) gateway(ctx context.Context) (url string, err error) {
	err = await(ctx, func() bool {
		b, err := os.ReadFile(filepath.Join(p.dir, "data", "gateway.url"))
		url = strings.TrimSpace(string(b))
		return err == nil
	})
	return url, err
}

func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.cmd.Args[1], err)
	}
	return p.cmd.Wait()
}
