package mesh_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// TestHelloworldJoins runs what go-micro's own `micro new helloworld` makes: a module with its own go.mod, a .proto with generated stubs, a
// handler and a main. It is built as it is, and started with two variables.
func TestHelloworldJoins(t *testing.T) {
	m := start(t, t.TempDir(), func(c *mesh.Config) { joinable(c); c.Gateway.ExposeStock = true })
	cmd := exec.CommandContext(t.Context(), helloworld(t))
	cmd.Env = append(os.Environ(), "MICRO_REGISTRY=nats", "MICRO_REGISTRY_ADDRESS="+m.NATSAddr().String())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("helloworld: %s", out.String())
		}
	})
	web := &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}
	meshtest.Eventually(t, "helloworld is found", func() bool { return m.Host.Nodes.Lookup("helloworld") != nil })
	for _, path := range []string{"/helloworld/Helloworld.Call", "/helloworld/Helloworld/Call"} {
		if a := web.Do(t, "POST", path, "", `{"name":"Alice"}`).Must(t, 200); string(a.Body) != `{"msg":"Hello Alice"}` {
			t.Errorf("%s: answer is %s", path, a.Body)
		}
	}
	web.Do(t, "POST", "/helloworld/Helloworld.Stream", "", `{"count":3}`).Must(t, 404)
	_ = cmd.Process.Kill()
	meshtest.Eventually(t, "its end is noticed", func() bool { return m.Host.Nodes.Lookup("helloworld") == nil })
}

// helloworld builds the module, in a folder that belongs to no other and in the versions that this module has.
func helloworld(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/helloworld")); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod = bytes.Replace(mod, []byte("module micromesh"), []byte("module helloworld"), 1)
	sum, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program = filepath.Join(dir, "helloworld")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return program
}
