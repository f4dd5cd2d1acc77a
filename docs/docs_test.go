package docs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/cmd/micro/cli"
	"micromesh/internal/protogen"
	"micromesh/pkg/logtest"
	"micromesh/pkg/porttest"
)

// patience is how long a command may take: Go builds for some of them.
const patience = 4 * time.Minute

// TestMain is `micro` where it is called so, as a reader calls it.
func TestMain(m *testing.M) {
	protogen.Plugin()
	if filepath.Base(os.Args[0]) == "micro" {
		os.Exit(cli.Run(os.Args, cli.System()))
	}
	os.Exit(m.Run())
}

// reader does what pages say, in a folder of its own.
type reader struct {
	dir     string
	environ []string
	address string // of the gateway, which pages call 127.0.0.1:8080
	last    *service
}

// service is a command that runs on.
type service struct {
	block
	command
	out   logtest.Buffer
	read  int // of what it has printed, by pages
	ended chan error
}

const (
	gateway  = "127.0.0.1:8080"
	password = "password-of-the-reader"
)

// newReader has `micro` and what is on this machine, and types the same password wherever it is asked for one.
func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{dir: t.TempDir(), address: porttest.Free(t)}
	bin, home := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "micro")); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); !strings.HasPrefix(name, "MICRO_") && name != "GOFLAGS" {
			r.environ = append(r.environ, e)
		}
	}
	r.environ = append(r.environ, "PATH="+bin+":"+os.Getenv("PATH"), "MICRO_CONFIG="+filepath.Join(home, "config.json"),
		"MICRO_LISTEN="+r.address, "MICRO_NATS_LISTEN="+porttest.Free(t), "MICRO_SERVER=http://"+r.address,
		"MICRO_PASSWORD="+password, "MICRO_ADMIN_PASSWORD="+password,
		"GOWORK=off")
	return r
}

// here writes the reader's gateway where the page has the usual one.
func (r *reader) here(s string) string { return strings.ReplaceAll(s, gateway, r.address) }

// process makes a command of a shell, in a group of its own.
func (r *reader) process(ctx context.Context, c command, out *logtest.Buffer) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+r.here(c.line))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.environ, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// run runs the commands of a block to their ends.
func (r *reader) run(t *testing.T, b block) {
	t.Helper()
	for _, c := range b.commands(t) {
		c.prints = r.here(c.prints)
		wrong := r.try(t, b, c)
		for deadline := time.Now().Add(patience); wrong != "" && b.kind == "console soon" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			wrong = r.try(t, b, c)
		}
		if wrong != "" {
			t.Fatalf("%s: %s%s", b, c.line, wrong)
		}
	}
}

// try runs a command once, and tells what was wrong with it.
func (r *reader) try(t *testing.T, b block, c command) (wrong string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	var out logtest.Buffer
	err := r.process(ctx, c, &out).Run()
	switch {
	case (err != nil) != (b.kind == "console fails"):
		return fmt.Sprintf("ended with %v; it printed\n%s", err, out.String())
	case c.prints != "" && !c.printed(out.String(), true):
		return fmt.Sprintf("printed\n%s\nand the page says\n%s", out.String(), c.prints)
	}
	return ""
}

// begin starts what runs on, and waits until it has printed what the page says.
func (r *reader) begin(t *testing.T, b block) {
	t.Helper()
	all := b.commands(t)
	if len(all) != 1 {
		t.Fatalf("%s: it must be one command", b)
	}
	s := &service{block: b, command: all[0], ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := r.process(ctx, s.command, &s.out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		<-s.ended
		if t.Failed() {
			t.Logf("%s: %sprinted\n%s", b, s.line(), s.out.String())
		}
	})
	r.last = s
	s.await(t, b, r.here(s.prints))
}

func (s *service) line() string { return s.command.line }

// await waits until the service has printed what a page says next.
func (s *service) await(t *testing.T, b block, prints string) {
	t.Helper()
	c := command{line: s.line(), prints: prints}
	for deadline := time.Now().Add(patience); !c.printed(s.out.String()[s.read:], false); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-s.ended:
			s.ended <- err
			t.Fatalf("%s: %shas ended: %v; it printed:\n%s", b, c.line, err, s.out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %sprinted\n%s\nand the page says\n%s", b, c.line, s.out.String()[s.read:], c.prints)
		}
	}
	s.read = len(s.out.String())
}

// write writes a file that a page shows.
func (r *reader) write(t *testing.T, b block) {
	t.Helper()
	file := filepath.Join(r.dir, b.path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// patch makes the change that a page shows.
func (r *reader) patch(t *testing.T, b block) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "apply", "-p0", "--whitespace=nowarn", "-")
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(b.text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", b, err, out)
	}
}

// TestPagesInTheirOrder reads the pages one after the other. What one of them begins runs on for the next.
func TestPagesInTheirOrder(t *testing.T) {
	r := newReader(t)
	commands := 0
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			begin := time.Now()
			switch b.kind {
			case "console", "console fails", "console soon":
				commands += len(b.commands(t))
				r.run(t, b)
			case "console service":
				commands++
				r.begin(t, b)
			case "console more":
				r.last.await(t, b, r.here(b.text))
			case "file":
				r.write(t, b)
			case "diff":
				r.patch(t, b)
			}
			t.Logf("%s: %v", b, time.Since(begin).Round(time.Millisecond))
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were run", commands)
	}
}

// What is shown must be all of what is printed, but for what an ellipsis stands for.
func TestWhatIsShownIsPrinted(t *testing.T) {
	for _, c := range []struct {
		shown, printed string
		whole, want    bool
	}{
		{"a\nb", "a\nb\n", true, true},
		{"a\nb", "a\nb\nc\n", true, false},
		{"a\nb", "a\nb\nc\n", false, true},
		{"a\nb", "x\na\nb\n", false, false},
		{"…\nb", "x\na\nb\n", true, true},
		{"…\nb", "b\n", true, true},
		{"…\nb", "ab\n", true, false},
		{"a\n…\nc", "a\nc\n", true, true},
		{"a\n…", "a\n", true, true},
		{"id …, x", "id 17, x\n", true, true},
		{"id …, x", "id 17\n, x\n", true, false},
		{"A  B", "A      B\n", true, true},
		{"a.b", "aXb\n", true, false},
	} {
		if got := (command{prints: c.shown}).printed(c.printed, c.whole); got != c.want {
			t.Errorf("%q shows %q (whole: %t): %t", c.shown, c.printed, c.whole, got)
		}
	}
}
