package sqldbtest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Own is a Postgres server of a test's own, for tests that break it: it writes to disk as one in production does. It ends with
// the test.
type Own struct {
	tb   testing.TB
	bin  string
	dir  string // of its data
	run  string // of its socket and log
	cred *syscall.Credential
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// NewOwn makes a server whose data lie in a folder, which must be empty, and starts it. Where there is no Postgres the test fails
// in CI, and is skipped elsewhere.
func NewOwn(tb testing.TB, dir string) *Own {
	tb.Helper()
	bin, ok := programs()
	if !ok && os.Getenv("CI") == "" {
		tb.Skip("there is no Postgres")
	}
	run, err := os.MkdirTemp("/tmp", "sqldbtest-") // short: a socket's path has at most 107 bytes
	if !ok || err != nil {
		tb.Fatalf("start Postgres: %v, %v", errNoPostgres, err)
	}
	s := &Own{tb: tb, bin: bin, dir: filepath.Join(dir, "data"), run: run}
	tb.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(run)
	})
	if os.Geteuid() == 0 {
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the server's user must get there
			tb.Fatal(err)
		}
		for _, d := range []string{dir, run} {
			if s.cred, err = unprivileged(d); err != nil {
				tb.Fatal(err)
			}
		}
	}
	init := exec.CommandContext(tb.Context(), filepath.Join(bin, "initdb"), "-D", s.dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions", "--wal-segsize=1") //nolint:gosec // a program of this machine
	init.Dir, init.SysProcAttr = run, &syscall.SysProcAttr{Credential: s.cred}
	if out, err := init.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v: %s", err, out)
	}
	s.Start()
	if err := awaitServer(s.url("postgres"), run); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *Own) url(database string) *url.URL {
	return &url.URL{
		Scheme: "postgres", User: url.User("postgres"), Path: "/" + database,
		RawQuery: url.Values{"host": {s.run}, "sslmode": {"disable"}}.Encode(),
	}
}

// Database makes an empty database and gives its URL.
func (s *Own) Database(name string) string {
	s.tb.Helper()
	execute(s.tb, s.url("postgres"), `CREATE DATABASE "`+name+`"`)
	return s.url(name).String()
}

// Start starts the server, as its supervisor would after it has ended. It doesn't wait until it answers.
func (s *Own) Start() {
	s.tb.Helper()
	log, err := os.OpenFile(filepath.Join(s.run, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.dir, "-k", s.run, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=16MB") //nolint:gosec,noctx // a program of this machine, which Kill ends
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.run, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // that it has ended is all that counts
		close(done)
	}(s.cmd, s.done)
}

// Running tells whether the server runs.
func (s *Own) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// PIDs are the server's processes: the first, and those that it has started.
func (s *Own) PIDs() []int {
	pids := []int{s.cmd.Process.Pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pids[0]))
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, f := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			s.tb.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// Kill ends all of the server at once, as a power cut does, where it runs.
func (s *Own) Kill() {
	if s.Running() {
		_ = s.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.done
	}
}

// Log is the last of what the server has logged.
func (s *Own) Log() string {
	b, err := os.ReadFile(filepath.Join(s.run, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}
