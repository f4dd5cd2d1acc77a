package meshtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/auth"
	"micromesh/pkg/natsconn"
	sdk "micromesh/sdk/go"
)

// roles are what this test program plays in processes of its own: each gives the URL that it serves. They take what they
// need from the variables MESHTEST_DIR, MESHTEST_SERVER and MESHTEST_NATS.
var roles = map[string]func(context.Context, *slog.Logger) (url string, err error){
	"mesh":             playMesh,
	"verifier on NATS": playVerifier,
	"verifier by SDK":  playService,
}

// TestMain plays a role where it is told to, until its standard input ends.
func TestMain(m *testing.M) {
	meshtest.Play()
	play, ok := roles[os.Getenv("MESHTEST_ROLE")]
	if !ok {
		os.Exit(m.Run())
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	url, err := play(context.Background(), log)
	if err != nil {
		log.Error("play", "error", err)
		os.Exit(1)
	}
	fmt.Println(url)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// process starts a process that plays a role until the test ends, and gives what it serves and its id.
func process(t *testing.T, role string, env ...string) (url string, pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "MESHTEST_ROLE="+role, "MESHTEST_DIR="+t.TempDir())...)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	return strings.TrimSpace(url), cmd.Process.Pid
}

func playMesh(ctx context.Context, log *slog.Logger) (string, error) {
	cfg, err := meshtest.Config(os.Getenv("MESHTEST_DIR"), log)
	if err != nil {
		return "", err
	}
	m, err := mesh.Start(ctx, cfg)
	if err != nil {
		return "", err
	}
	return "http://" + m.Addr().String(), nil
}

// playVerifier verifies tokens as the mesh's own processes do: by what is replicated on NATS.
func playVerifier(ctx context.Context, log *slog.Logger) (string, error) {
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: os.Getenv("MESHTEST_NATS"), Name: "verifier", Logger: log})
	if err != nil {
		return "", err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return "", err
	}
	state := auth.Watch(ctx, js, log)
	if err := state.WaitReady(ctx); err != nil {
		return "", err
	}
	verifier := auth.NewVerifier(state)
	return serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := verifier.Verify(auth.Bearer(r.Header.Get("Authorization"))); err != nil {
			sdk.WriteError(w, r, err)
		}
	}))
}

// playService verifies tokens as services outside the mesh do: by what they fetch from the gateway.
func playService(ctx context.Context, log *slog.Logger) (string, error) {
	s, err := sdk.Open(ctx, sdk.Config{
		Slug: "verifier-svc", ServerURL: os.Getenv("MESHTEST_SERVER"), Logger: log,
		Credentials: filepath.Join(os.Getenv("MESHTEST_DIR"), "credentials.json"),
	})
	if err != nil {
		return "", err
	}
	return serve(ctx, s.RequireSignedIn(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
}

func serve(ctx context.Context, h http.Handler) (url string, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = http.Serve(ln, h) }() // until the process ends
	return "http://" + ln.Addr().String(), nil
}
