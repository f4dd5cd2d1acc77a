// Package sealtest makes processes with certificates for tests of sealed entries.
package sealtest

import (
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/seal"
	"micromesh/pkg/secret"
)

// Party is a process with a certificate.
type Party struct {
	*seal.Sealer
	Identity *identity.Identity
	metrics  *prometheus.Registry
}

// New makes a process with a certificate for one slug. It seals as the service with another slug, by a key of the box.
func New(t testing.TB, by *identity.Authority, certificate, slug string, box *secret.Box) Party {
	t.Helper()
	dir := t.TempDir()
	files := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	cert, key, err := by.Sign(time.Hour, certificate)
	if err != nil {
		t.Fatal(err)
	}
	ca, _, err := by.PEM()
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{files.Cert: cert, files.Key: key, files.CA: ca} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id, err := identity.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	return Party{seal.NewReader(id, slog.New(slog.NewTextHandler(t.Output(), nil)), metrics).Sealer(slug, box), id, metrics}
}

// Authority makes an authority.
func Authority(t testing.TB) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Box makes a secret key.
func Box(t testing.TB) *secret.Box {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	b, err := secret.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Refusals returns the number of entries that the process has refused.
func (p Party) Refusals(t testing.TB) (n float64) {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}
