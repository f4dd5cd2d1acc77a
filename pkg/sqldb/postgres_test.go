package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// blackHole accepts connections and never answers.
func blackHole(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		for _, conn := range conns {
			conn.Close()
		}
	})
	return ln.Addr().String()
}

// wire carries connections to a server until it is cut, when it goes on to take what is sent and to answer nothing.
type wire struct {
	url string
	cut atomic.Bool
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	socket := u.Query().Get("host")
	if socket == "" {
		socket = u.Host
	} else {
		socket += "/.s.PGSQL.5432"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = ln.Addr().String()
	query := u.Query()
	query.Del("host")
	u.RawQuery = query.Encode()
	w := &wire{url: u.String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { w.carry(client, socket) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return w
}

func (w *wire) carry(client net.Conn, socket string) {
	defer client.Close()
	network := "unix"
	if socket[0] != '/' {
		network = "tcp"
	}
	server, err := net.Dial(network, socket)
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() { w.copy(server, client) })
	wg.Go(func() { w.copy(client, server) })
	wg.Wait()
}

func (w *wire) copy(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			to.Close()
			return
		}
		if w.cut.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// inTime checks that a call fails as unavailable before the time-out of the fault's contract.
func inTime(t *testing.T, what string, limit time.Duration, call func() error) {
	t.Helper()
	began := time.Now()
	err := call()
	if took := time.Since(began); !sqldb.IsUnavailable(err) || took > limit {
		t.Errorf("%s: after %v: %v", what, took, err)
	}
}

func TestServerThatNeverAnswers(t *testing.T) {
	address := blackHole(t)
	before := goleak.IgnoreCurrent()
	db, err := sqldb.Open(t.Context(), sqldb.Config{URL: "postgres://u:secret@" + address + "/db?sslmode=disable"})
	if err != nil {
		t.Fatal(err)
	}
	inTime(t, "query", 2100*time.Millisecond, func() error { return db.Ping(t.Context()) })
	inTime(t, "write", 2100*time.Millisecond, func() error { return db.Write(t.Context(), addPet(t.Context(), "rex")) })
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

func TestServerThatFallsSilent(t *testing.T) {
	server, ok := sqldbtest.PostgresURL(t)
	if !ok {
		return
	}
	w := newWire(t, server)
	db := sqldbtest.Open(t, w.url)
	createPets(t, db)
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.cut.Store(true)
	inTime(t, "query", 2100*time.Millisecond, func() error { return db.Ping(t.Context()) })
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	inTime(t, "query with a deadline", 300*time.Millisecond, func() error { return db.Ping(short) })
	inTime(t, "write", 2100*time.Millisecond, func() error { return db.Write(t.Context(), addPet(t.Context(), "rex")) })
	w.cut.Store(false)
	mustWrite(t, db, addPet(t.Context(), "rex"))
	checkPets(t, db, "rex")
}

func TestSilenceDuringCommitIsUnknown(t *testing.T) {
	server, ok := sqldbtest.PostgresURL(t)
	if !ok {
		return
	}
	w := newWire(t, server)
	db := sqldbtest.Open(t, w.url)
	createPets(t, db)
	runs := 0
	inTime(t, "write", 2100*time.Millisecond, func() error {
		err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
			defer w.cut.Store(true)
			runs++
			return addPet(t.Context(), "rex")(tx)
		})
		if !sqldb.IsUnknown(err) {
			t.Errorf("the outcome is known: %v", err)
		}
		return err
	})
	if runs != 1 {
		t.Errorf("the function ran %d times", runs)
	}
	w.cut.Store(false)
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("after its return: %v", err)
	}
}

func TestServerRefuses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	db := sqldbtest.Open(t, "postgres://u@"+ln.Addr().String()+"/db?sslmode=disable")
	inTime(t, "query", time.Second, func() error { return db.Ping(t.Context()) })
	inTime(t, "write", time.Second, func() error { return db.Write(t.Context(), addPet(t.Context(), "rex")) })
}

// killOthers ends every session of the database but the caller's.
func killOthers(t *testing.T, db *sqldb.DB) {
	t.Helper()
	_, err := sqldb.All(t.Context(), db, func(row sqldb.Scanner) (ok bool, err error) {
		err = row.Scan(&ok)
		return ok, err
	},
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if err != nil {
		t.Fatal(err)
	}
}

func TestLostConnections(t *testing.T) {
	url, ok := sqldbtest.PostgresURL(t)
	if !ok {
		return
	}
	db, other := sqldbtest.Open(t, url), sqldbtest.Open(t, url)
	createPets(t, db)

	var wg sync.WaitGroup // so that the pool is full of connections
	for range 3 * sqldb.DefaultPostgresConns {
		wg.Go(func() {
			if _, err := sqldb.All(t.Context(), db, scanName, "SELECT name FROM pets, pg_sleep(0.05)"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	killOthers(t, other)
	mustWrite(t, db, addPet(t.Context(), "idle")) // every idle connection is dead

	runs := 0
	mustWrite(t, db, func(tx *sqldb.Tx) error {
		if runs++; runs == 1 {
			killOthers(t, other)
		}
		return addPet(t.Context(), "middle")(tx)
	})
	if runs != 2 {
		t.Errorf("the function ran %d times", runs)
	}
	checkPets(t, db, "idle", "middle")
}

// TestWritersAreSerialized has each writer decide by what it reads, which only serializable transactions survive.
func TestWritersAreSerialized(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		taken := errors.New("taken")
		var wg sync.WaitGroup
		var won atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				err := db.Write(t.Context(), func(tx *sqldb.Tx) error {
					var n int
					if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM pets").Scan(&n); err != nil {
						return err
					}
					if n > 0 {
						return taken
					}
					return addPet(t.Context(), fmt.Sprint(i))(tx)
				})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, taken):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(petNames(t, db)); won.Load() != 1 || n != 1 {
			t.Errorf("%d won, %d rows", won.Load(), n)
		}
	})
}

func TestManyStatements(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		for i := range 600 { // more than a connection keeps prepared
			var n int
			if err := db.QueryRow(t.Context(), fmt.Sprintf("SELECT %d + ?", i), 1).Scan(&n); err != nil || n != i+1 {
				t.Fatalf("%d: %d, %v", i, n, err)
			}
		}
	})
}

func TestSchemaThatChanges(t *testing.T) {
	withPets(t, func(t *testing.T, db *sqldb.DB) {
		mustWrite(t, db, addPet(t.Context(), "rex"))
		checkPets(t, db, "rex")
		mustWrite(t, db, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), "ALTER TABLE pets ADD COLUMN legs BIGINT NOT NULL DEFAULT 4")
			return err
		})
		checkPets(t, db, "rex")
	})
}

// TestSlowQueriesFillThePool has two hundred callers ask for what takes long, and then more for what doesn't: those are told within
// the second that a call waits for a connection, and it is over with the slow ones.
func TestSlowQueriesFillThePool(t *testing.T) {
	url, ok := sqldbtest.PostgresURL(t)
	if !ok {
		return
	}
	db, other := sqldbtest.Open(t, url), sqldbtest.Open(t, url)
	createPets(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 200 {
		wg.Go(func() {
			_, _ = sqldb.All(ctx, db, scanName, "SELECT name FROM pets, pg_sleep(60)") // cancelled, or told that the pool is full
		})
	}
	for deadline := time.Now().Add(30 * time.Second); db.Stats().InUse < sqldb.DefaultPostgresConns; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pool is not full in time")
		}
	}
	began := time.Now()
	err := db.QueryRow(t.Context(), "SELECT 1").Scan(new(int))
	if took := time.Since(began); !errs.Is(err, errs.Unavailable) || took > 5*time.Second {
		t.Errorf("with a full pool: %v after %v", err, took)
	}
	if err := other.Ping(t.Context()); err != nil { // the server itself, and whoever has a pool of his own, are well
		t.Errorf("another pool: %v", err)
	}
	cancel()
	wg.Wait()
	mustWrite(t, db, addPet(t.Context(), "rex"))
}
