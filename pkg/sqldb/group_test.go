package sqldb_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
)

// hold lets a write begin and gives a function that ends it; meanwhile other writes gather behind it.
func hold(t *testing.T, db *sqldb.DB) (release func() error) {
	t.Helper()
	running, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- db.Write(t.Context(), func(*sqldb.Tx) error {
			close(running)
			<-end
			return nil
		})
	}()
	<-running
	return func() error {
		close(end)
		return <-ended
	}
}

// together runs n writes at once behind a held one, and waits for them.
func together(t *testing.T, db *sqldb.DB, n int, write func(i int) error) {
	t.Helper()
	release := hold(t, db)
	var wg sync.WaitGroup
	var begun atomic.Int32
	for i := range n {
		wg.Go(func() {
			begun.Add(1)
			if err := write(i); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	for begun.Load() < int32(n) {
		runtime.Gosched()
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestGroupsCommitTogether(t *testing.T) {
	url := sqldbtest.SQLiteURL(t)
	db := sqldbtest.Open(t, url)
	createPets(t, db)
	const writers = 200
	before := commits(t, url)
	together(t, db, writers, func(i int) error {
		return db.Write(t.Context(), addPet(t.Context(), fmt.Sprint(i)))
	})
	if got := len(petNames(t, db)); got != writers {
		t.Errorf("%d rows of %d are there", got, writers)
	}
	// Each commit that changes something appends at least one frame for each of the table's pages to the log.
	if n := commits(t, url) - before; n > writers/4 {
		t.Errorf("%d writers took %d commits", writers, n)
	}
}

// commits counts the commits in the write-ahead log: frames whose header gives the size of the file after them
// (https://www.sqlite.org/fileformat2.html#walformat).
func commits(t *testing.T, url string) (n int) {
	t.Helper()
	log, err := os.ReadFile(strings.TrimPrefix(url, "sqlite:") + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24 + 4096
	for at := header; at+frame <= len(log); at += frame {
		if string(log[at+4:at+8]) != "\x00\x00\x00\x00" {
			n++
		}
	}
	return n
}

func TestGroupIsolatesFailures(t *testing.T) {
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	createPets(t, db)
	mine := errors.New("mine")
	together(t, db, 40, func(i int) (err error) {
		name := fmt.Sprintf("pet%02d", i)
		defer func() {
			if got := recover(); (got == nil) == (i%4 == 2) {
				err = fmt.Errorf("recovered %v", got)
			}
		}()
		err = db.Write(t.Context(), func(tx *sqldb.Tx) error {
			if err := addPet(t.Context(), name)(tx); err != nil {
				return err
			}
			switch i % 4 {
			case 1:
				return mine
			case 2:
				panic("mine")
			case 3:
				runtime.Gosched()
			}
			return nil
		})
		if errors.Is(err, mine) == (i%4 == 1) {
			return nil
		}
		return err
	})
	var want []string
	for i := range 40 {
		if i%4 == 0 || i%4 == 3 {
			want = append(want, fmt.Sprintf("pet%02d", i))
		}
	}
	checkPets(t, db, want...)
}

func TestGroupSurvivesGoexit(t *testing.T) {
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	createPets(t, db)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_ = addPet(t.Context(), "tom")(tx)
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	mustWrite(t, db, addPet(t.Context(), "rex"))
	checkPets(t, db, "rex")
}

func TestCancelledInTheQueue(t *testing.T) {
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	createPets(t, db)
	release := hold(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- db.Write(ctx, addPet(t.Context(), "tom")) }()
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) { // at once, although the other still runs
		t.Errorf("Write gave %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	mustWrite(t, db, addPet(t.Context(), "rex"))
	checkPets(t, db, "rex")
}

// TestLostTransaction has SQLite roll back a whole group, as it does when the disk is full: nobody of it may be told otherwise.
func TestLostTransaction(t *testing.T) {
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	createPets(t, db)
	release := hold(t, db)
	answers := make(chan error, 2)
	go func() { answers <- db.Write(t.Context(), addPet(t.Context(), "rex")) }()
	go func() {
		answers <- db.Write(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT OR ROLLBACK INTO pets (name) VALUES ('tom'), ('tom')")
			if err == nil {
				return errors.New("no duplicate")
			}
			_ = addPet(t.Context(), "max")(tx) // must not be committed on its own
			return nil
		})
	}()
	_ = release() // it may be lost with the others
	good := 0
	for range 2 {
		if err := <-answers; err == nil {
			good++
		}
	}
	if got := petNames(t, db); len(got) != good || len(got) > 1 || (good == 1 && got[0] != "rex") {
		t.Errorf("%d writes were acknowledged, but %v is there", good, got)
	}
	mustWrite(t, db, addPet(t.Context(), "next")) // it goes on
}

func TestCloseDrains(t *testing.T) {
	url := sqldbtest.SQLiteURL(t)
	db := sqldbtest.Open(t, url)
	createPets(t, db)
	release := hold(t, db)
	const writers = 20
	var wg sync.WaitGroup
	var acknowledged atomic.Int32
	for i := range writers {
		wg.Go(func() {
			if db.Write(t.Context(), addPet(t.Context(), fmt.Sprint(i))) == nil {
				acknowledged.Add(1)
			}
		})
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := len(petNames(t, sqldbtest.Open(t, url))); got != int(acknowledged.Load()) {
		t.Errorf("%d rows are there, %d were acknowledged", got, acknowledged.Load())
	}
}

// TestMain lets the test program play the process that is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv("SQLDB_TEST_WRITE"); url != "" {
		writeForEver(url)
	}
	if dir := os.Getenv("SQLDB_TEST_MIGRATE"); dir != "" {
		migrateForEver(dir)
	}
	os.Exit(m.Run())
}

// writeForEver prints each row when it was acknowledged.
func writeForEver(url string) {
	db, err := sqldb.Open(context.Background(), sqldb.Config{URL: url})
	if err != nil {
		panic(err)
	}
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d", w, i)
				if err := db.Write(context.Background(), addPet(context.Background(), name)); err != nil {
					panic(err)
				}
				fmt.Println(name)
			}
		}()
	}
	select {}
}

func TestKilledProcessLosesNothing(t *testing.T) {
	run := func(t *testing.T, url string) {
		db := sqldbtest.Open(t, url)
		createPets(t, db)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "SQLDB_TEST_WRITE="+url)
		child.Stderr = t.Output()
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			acknowledged = append(acknowledged, lines.Text())
			if len(acknowledged) == 500 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait() // it was killed
		there := map[string]bool{}
		for _, name := range petNames(t, db) {
			there[name] = true
		}
		if len(acknowledged) < 500 {
			t.Fatalf("the child ended after %d rows", len(acknowledged))
		}
		for _, name := range acknowledged {
			if !there[name] {
				t.Errorf("row %s was acknowledged and is lost", name)
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) { run(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db")) })
	if url, ok := sqldbtest.PostgresURL(t); ok {
		t.Run("postgres", func(t *testing.T) { run(t, url) })
	}
}
