package chaos_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/internal/cluster"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/sqldb/sqldbtest"
)

// supervise does with the NATS server what compose does, until stop is called: it asks the health check that is in the container
// how it is, twice a second, and starts it when it has ended.
func supervise(t *testing.T, nats *cluster.Process, store string) (stop func()) {
	t.Helper()
	busybox, err := exec.LookPath("busybox") // which the image has too
	if err != nil {
		missing(t, "there is no busybox")
	}
	bin := t.TempDir()
	for _, tool := range []string{"sh", "wget", "nc", "tail", "sed", "dd", "rm"} {
		if err := os.Symlink(busybox, filepath.Join(bin, tool)); err != nil {
			t.Fatal(err)
		}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			if !nats.Running() {
				nats.Start()
			}
			check := exec.Command(filepath.Join(bin, "sh"), "../../deploy/nats/healthcheck.sh")
			check.Env = []string{"PATH=" + bin, "NATS_MONITOR=" + nats.Env()["NATS_MONITOR"], "NATS_STORE=" + store, fmt.Sprint("NATS_PID=", nats.PID())}
			if out, err := check.CombinedOutput(); err != nil {
				t.Logf("NATS is not well: %v: %s", err, out)
			}
		}
	}()
	return func() { close(ended); <-done }
}

// TestDiskOfNATSIsFull fills the disk of the NATS server while accounts are registered: they wait in the outbox. The health check
// of compose is what has it write again.
func TestDiskOfNATSIsFull(t *testing.T) {
	const row = "disk full for NATS, a server of its own"
	dir := smallDisk(t, 64)
	m := start(t, cluster.Config{Store: dir})
	defer supervise(t, m.cluster.NATS, dir)()
	l := begin(t, 50, m.URL+"/shop-svc/")
	slugs := m.registerSome(t, "before", 5)
	m.once(t, patience, slugs)
	ballast := fill(t, dir)
	meanwhile := m.registerSome(t, "meanwhile", 20)
	if len(meanwhile) != 20 {
		t.Errorf("%d of 20 accounts were registered while the disk of NATS was full", len(meanwhile))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	took := m.once(t, patience, append(slugs, meanwhile...))
	m.cluster.AwaitReady()
	figure(t, row, "%d accounts registered meanwhile; their events arrived %v after there was room; all ready after %v", len(meanwhile), took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	m.reachable(t, "later-svc", patience)
	l.nothingLost(t, row)
}

// own gives the services databases of a Postgres server of the test's own.
func own(t *testing.T, dir string) (*sqldbtest.Own, map[string]map[string]string) {
	t.Helper()
	db := sqldbtest.NewOwn(t, dir)
	of := map[string]map[string]string{}
	for _, name := range []string{"user", "registry", "proxy"} {
		of[name] = map[string]string{"MICRO_DATABASE_URL": db.Database(name)}
	}
	return db, of
}

// TestDiskOfPostgresIsFull fills the disk of a Postgres server until accounts can't be registered any more.
func TestDiskOfPostgresIsFull(t *testing.T) {
	const row = "disk full for Postgres"
	dir := smallDisk(t, 192)
	db, of := own(t, dir)
	m := start(t, cluster.Config{Of: of})
	l := begin(t, 50, m.URL+"/shop-svc/")
	ballast := fill(t, dir)
	var acknowledged []string
	register := func(slug string) int {
		s := status(t, "POST", m.URL+"/user-svc/register", "", account(slug))
		if s == http.StatusOK {
			acknowledged = append(acknowledged, slug)
		}
		return s
	}
	answers := map[int]int{}
	for i := 0; answers[http.StatusServiceUnavailable] < 20 && i < 2000; i++ {
		answers[register(fmt.Sprintf("full-%d", i))]++
	}
	ended := !db.Running()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	back := eventually(t, "register again", patience, func() bool {
		if !db.Running() { // as whoever supervises it would
			db.Start()
		}
		return register("after") == http.StatusOK
	})
	if answers[http.StatusServiceUnavailable] < 20 || len(answers) > 2 {
		t.Errorf("answers were %v on a full disk: %s", answers, db.Log())
	}
	m.once(t, patience, acknowledged)
	for _, slug := range acknowledged {
		m.Login(t, slug, "password-of-"+slug)
	}
	figure(t, row, "answers to writes %v, Postgres had ended: %v; writes again after %v; all %d accounts that were acknowledged are there, with their events", answers, ended, back.Round(time.Millisecond), len(acknowledged))
	l.nothingLost(t, row)
}

// TestDiskOfEventsIsFull fills the disk of the NATS server that a mesh of one process has inside. Nothing else is there that
// would refuse first.
func TestDiskOfEventsIsFull(t *testing.T) {
	const row = "disk full for NATS, in the mesh's process"
	dir := smallDisk(t, 32)
	srv, err := embedded.Start(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	nc, err := nats.Connect("", srv.Option())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "s", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	watched, err := bucket.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	publish := func(name string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "s."+name, make([]byte, 1<<10))
		kept[name] = err == nil
		return err
	}
	if err := publish("before"); err != nil {
		t.Fatal(err)
	}
	ballast := fill(t, dir)
	refused := 0
	for i := range 5 {
		if publish(fmt.Sprint("full-", i)) != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("everything was kept on a full disk")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	back := eventually(t, "events are kept again", patience, func() bool { return publish("after") == nil })
	stream, err := js.Stream(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	for name, was := range kept {
		if _, err := stream.GetLastMsgForSubject(t.Context(), "s."+name); was && err != nil {
			t.Errorf("what was acknowledged of %s: %v", name, err)
		}
	}
	if _, err := bucket.Put(t.Context(), "after", []byte("x")); err != nil {
		t.Error(err)
	}
	for seen := false; !seen; {
		select {
		case u := <-watched.Updates():
			seen = u != nil && u.Key() == "after"
		case <-time.After(patience):
			t.Fatal("who follows a bucket is told of nothing any more")
		}
	}
	figure(t, row, "%d of 5 refused; kept again %v after there was room", refused, back.Round(time.Millisecond))
}
