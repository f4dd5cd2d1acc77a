package cli_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"micromesh/cmd/micro/cli"
	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// writeCertificate writes a certificate that signs itself, with its key.
func writeCertificate(t testing.TB, file, host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCommandsAtTheSameTimeStaySignedIn runs commands in parallel whose token is refreshed by each of them, since it lives shorter than the
// time before its end at which it is refreshed.
func TestCommandsAtTheSameTimeStaySignedIn(t *testing.T) {
	m := meshtest.Start(t, func(c *mesh.Config) { c.User.TokenExpiration = 20 * time.Second })
	config := filepath.Join(t.TempDir(), "config.json")
	micro := func(args ...string) (int, string) {
		var out bytes.Buffer
		var mu sync.Mutex
		w := writer(func(b []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return out.Write(b) })
		code := cli.Run(append([]string{"micro", "--server", m.URL}, args...), cli.IO{Stdin: os.Stdin, Stdout: w, Stderr: w, Getenv: os.Getenv, Config: config})
		return code, out.String()
	}
	t.Setenv("MICRO_PASSWORD", meshtest.AdminPassword)
	if code, out := micro("login", meshtest.AdminSlug); code != 0 {
		t.Fatalf("login: %d %s", code, out)
	}
	first := refreshToken(t, config, m.URL)
	for range 3 {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if code, out := micro("whoami"); code != 0 {
					t.Errorf("whoami: %d %s", code, out)
				}
			})
		}
		wg.Wait()
	}
	last := refreshToken(t, config, m.URL)
	if last == first || last == "" {
		t.Errorf("the refresh token was not used: %q", last)
	}
	if code, out := micro("org", "save", "acme"); code != 0 {
		t.Errorf("org save: %d %s", code, out)
	}
	if refreshToken(t, config, m.URL) == "" {
		t.Error("the answer to `org save`, which has no refresh token, took the one that was saved")
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

var _ io.Writer = writer(nil)

func refreshToken(t *testing.T, config, url string) string {
	t.Helper()
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Environments map[string]struct{ URL, RefreshToken string }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for _, e := range file.Environments {
		if e.URL == url {
			return e.RefreshToken
		}
	}
	return ""
}
