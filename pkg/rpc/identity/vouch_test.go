package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"micromesh/pkg/rpc/identity"
)

func TestVouchedForByItsCertificateAlone(t *testing.T) {
	mesh, other := authority(t), authority(t)
	reader := load(t, write(t, t.TempDir(), mesh, "gateway-svc", mesh))
	user := load(t, write(t, t.TempDir(), mesh, "user-svc", mesh))
	prove := func(i *identity.Identity, statement string) []byte {
		p, err := i.Vouch([]byte(statement))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if err := reader.Vouched("user-svc", []byte("it"), prove(user, "it")); err != nil {
		t.Error(err)
	}
	ended, key, err := mesh.Sign(time.Nanosecond, "user-svc")
	if err != nil {
		t.Fatal(err)
	}
	files := write(t, t.TempDir(), mesh, "user-svc", mesh)
	for file, content := range map[string][]byte{files.Cert: ended, files.Key: key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, proof := range map[string][]byte{
		"nothing":                      nil,
		"no proof":                     []byte("{}"),
		"another statement":            prove(user, "is"),
		"another service":              prove(reader, "it"),
		"another authority":            prove(load(t, write(t, t.TempDir(), other, "user-svc", other)), "it"),
		"a certificate that has ended": prove(load(t, files), "it"),
		"a certificate that is none":   []byte(`{"chain":["AA=="],"signature":"AA=="}`),
	} {
		if err := reader.Vouched("user-svc", []byte("it"), proof); err == nil {
			t.Errorf("%s vouches", name)
		}
	}
}

// TestKeysOfEveryKindVouch has certificates that others than our own authority would make.
func TestKeysOfEveryKindVouch(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ECDSA P-384": p384, "Ed25519": ed, "RSA": rsa2048} {
		i := load(t, selfSigned(t, key))
		proof, err := i.Vouch([]byte("it"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := i.Vouched("user-svc", []byte("it"), proof); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := i.Vouched("user-svc", []byte("is"), proof); err == nil {
			t.Errorf("%s vouches for another statement", name)
		}
	}
}

// selfSigned is an identity of user-svc whose certificate is its own authority.
func selfSigned(t *testing.T, key crypto.Signer) identity.Files {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "user-svc"}, DNSNames: []string{"user-svc"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "cert.pem")}
	for file, block := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}
