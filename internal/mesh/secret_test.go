package mesh_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/sqldb"
)

// unbind makes a database one of a version that knew no verifiers.
func unbind(t *testing.T, file string) {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{URL: "sqlite:" + file})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Unbind(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestALostSecretKeyStopsTheStart damages the secret key of a data folder in several ways: the mesh refuses to start, and says which
// file is wrong and what to do. With the key restored all is well.
func TestALostSecretKeyStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret.key")
	begin := func(change func(*mesh.Config)) (*mesh.Mesh, error) {
		cfg, err := meshtest.Config(dir, meshtest.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		return mesh.Start(t.Context(), cfg)
	}
	as := func(m *mesh.Mesh) *meshtest.Mesh { return &meshtest.Mesh{URL: "http://" + m.Addr().String()} }
	m, err := begin(func(*mesh.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	joe := as(m).Register(t, "joe")
	m.Stop()
	key, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	other := base64.StdEncoding.EncodeToString(random) + "\n"
	write := func(content string) func() error {
		return func() error { return os.WriteFile(file, []byte(content), 0o600) }
	}
	old := func() error {
		for _, name := range []string{"user", "registry", "proxy"} {
			unbind(t, filepath.Join(dir, name+".db"))
		}
		return write(other)()
	}
	for _, c := range []struct {
		name   string
		damage func() error
		says   string
	}{
		{"missing", func() error { return os.Remove(file) }, "does not exist"},
		{"another mesh's", write(other), "is not the one of its database"},
		{"another one, and databases of an older version", old, "is not the one of its database"},
		{"empty", write(""), "it is empty"},
		{"a line break alone", write("\n"), "it is empty"},
		{"truncated", write(string(key[:len(key)/2])), "it is not base64"},
		{"truncated at a boundary", write(string(key[:20])), "it has 15 bytes; a secret key has 32"},
		{"too long", write(strings.TrimSpace(string(key)) + string(key)), "it is not base64"},
		{"no text", write("\x00\x01\x02"), "it is not base64"},
		{"a folder", func() error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o700)
		}, "regular file"},
	} {
		if err := c.damage(); err != nil {
			t.Fatal(c.name, err)
		}
		m, err := begin(func(*mesh.Config) {})
		if err == nil {
			m.Stop()
			t.Errorf("%s: the mesh has started", c.name)
			continue
		}
		for _, want := range []string{file, c.says, "estore", "--new-secret-key", "sessions"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", c.name, err, want)
			}
		}
		if secret := strings.TrimSpace(string(key)); strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("%s: the error contains the key: %v", c.name, err)
		}
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(func(*mesh.Config) {}); err == nil || !strings.HasSuffix(err.Error(), "others may read it (mode 0644): run `chmod 600 "+file+"`") {
		t.Errorf("readable for others: %v; it must end with the remedy, since the key is there", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err = begin(func(*mesh.Config) {}); err != nil {
		t.Fatalf("with the key restored: %v", err)
	}
	as(m).Login(t, "joe", "password-of-joe")
	as(m).Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200)
	m.Stop()

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if m, err = begin(func(c *mesh.Config) { c.NewSecretKey = true }); err != nil {
		t.Fatalf("with a new key: %v", err)
	}
	as(m).Login(t, "joe", "password-of-joe")
	as(m).Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 401)
	m.Stop()
	if m, err = begin(func(*mesh.Config) {}); err != nil {
		t.Fatalf("with the new key: %v", err)
	}
	m.Stop()
}
