package sqldbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// errNoPostgres tells that there are no programs to start a server from.
var errNoPostgres = errors.New("neither initdb and postgres nor TEST_DATABASE_URL were found")

// startTime bounds the start of the server, on a machine that is busy with other tests.
const startTime = 30 * time.Second

// supervise makes a cluster in folder $1 and serves it, with the programs of folder $2, until standard input ends, which
// it does with the test process; then nothing is left.
const supervise = `
cd "$1" || exit 1
exec 3<&0 </dev/null >log 2>&1
"$2/initdb" -D data -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions || { touch failed; exit 1; }
"$2/postgres" -D data -k "$1" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
	-c max_connections=200 -c shared_buffers=32MB &
cat <&3 >/dev/null
kill -QUIT $!
wait
cd / && rm -rf "$1"
`

// server is one that runs.
type server struct {
	url   *url.URL
	alive *os.File // ends the server when it is closed: by the end of this process
}

// startServer starts a server on a Unix socket, in a folder of its own.
func startServer() (*server, error) {
	bin, ok := programs()
	if !ok {
		return nil, errNoPostgres
	}
	dir, err := os.MkdirTemp("/tmp", "sqldbtest-") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", supervise, "sh", dir, bin) //nolint:gosec,noctx // programs of this machine, which outlive any context
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}           // an interrupt is for the tests; the server ends with them
	if os.Geteuid() == 0 {                                          // for whom Postgres refuses to run
		if cmd.SysProcAttr.Credential, err = unprivileged(dir); err != nil {
			return nil, err
		}
	}
	stdin, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin = stdin
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	u := &url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode()}
	return &server{u, alive}, errors.Join(stdin.Close(), awaitServer(u, dir))
}

// awaitServer waits until the server answers.
func awaitServer(u *url.URL, dir string) error {
	connector, err := pq.NewConnector(u.String())
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		if err = db.PingContext(context.Background()); err == nil {
			return nil
		}
		_, failed := os.Stat(filepath.Join(dir, "failed"))
		if failed == nil || time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log")) // best effort: err tells enough
			return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(log))
		}
	}
}

// programs gives the folder of initdb and postgres.
func programs() (string, bool) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well-formed
	slices.Reverse(dirs)
	dirs = append(dirs, "/usr/local/pgsql/bin", "/opt/homebrew/bin")
	if found, err := exec.LookPath("initdb"); err == nil {
		dirs = append([]string{filepath.Dir(found)}, dirs...)
	}
	for _, dir := range dirs {
		_, initErr := exec.LookPath(filepath.Join(dir, "initdb"))
		_, serveErr := exec.LookPath(filepath.Join(dir, "postgres"))
		if initErr == nil && serveErr == nil {
			return dir, true
		}
	}
	return "", false
}

// unprivileged gives the folder to a user who may run Postgres.
func unprivileged(dir string) (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uerr, gerr); err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
