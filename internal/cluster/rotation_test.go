package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/internal/provision"
)

// TestSigningKeyIsReplaced makes the signing key due, and sees that another signs while tokens of before stay good.
func TestSigningKeyIsReplaced(t *testing.T) {
	urls := databases(t)
	m := start(t, urls, newSecretKey(t))
	joe := tokenOf(m.must(t, "POST", "/user-svc/register", "", credentials("joe", "password-of-joe")))
	before := m.must(t, "GET", "/user-svc/public-key", "", nil)["publicKey"]
	restore(t, urls["user"], "UPDATE signing_keys SET created_at = 0;")
	m.Services["user"][0].Restart() // or a minute
	eventually(t, func() error {    // the service is ready before the gateway has heard that it is back
		status, out := m.do(t, "GET", "/user-svc/public-key", "", nil)
		if status != 200 || out["publicKey"] == before {
			return fmt.Errorf("the old key still signs, or none: %d %v", status, out)
		}
		return nil
	})
	eventually(t, func() error {
		if keys := m.must(t, "GET", "/.well-known/jwks.json", "", nil)["keys"].([]any); len(keys) != 2 {
			return fmt.Errorf("%d keys", len(keys))
		}
		return nil
	})
	m.must(t, "POST", "/user-svc/self", joe, obj{})
	m.must(t, "POST", "/user-svc/self", m.login(t, "joe", "password-of-joe"), obj{})
}

// TestCertificatesAreReplaced renews all certificates under a mesh that runs: its processes show the new ones, and NATS
// does once it is started again.
func TestCertificatesAreReplaced(t *testing.T) {
	m := start(t, databases(t), newSecretKey(t))
	root := m.login(t, admin, adminPassword)
	address := ""
	for _, i := range m.must(t, "GET", "/registry-svc/instances?slug=user-svc", root, nil)["instances"].([]any) {
		address = strings.TrimPrefix(i.(obj)["url"].(string), "grpc://")
	}
	before := m.shown(t, address, "user-svc")
	if _, err := provision.Renew(provision.Config{Dir: m.Secrets()}, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if m.shown(t, address, "user-svc").Equal(before) {
		t.Error("the old certificate is still shown")
	}
	natsBefore := m.shown(t, m.NATS.Address(), "nats")
	m.NATS.Restart()
	if m.shown(t, m.NATS.Address(), "nats").Equal(natsBefore) {
		t.Error("NATS still shows the old certificate")
	}
	m.AwaitReady()
	for _, name := range []string{"registry", "gateway"} {
		m.Services[name][0].Restart() // whose connections are all new
	}
	eventually(t, func() error {
		if status, out := m.do(t, "GET", "/registry-svc/definitions", root, nil); status != 200 {
			return fmt.Errorf("after everything: %d %v", status, out)
		}
		return nil
	})
}

// shown is the certificate that a server shows to a process of the mesh.
func (m *mesh) shown(t *testing.T, address, name string) *x509.Certificate {
	t.Helper()
	file := func(s string) string { return filepath.Join(m.Secrets(), "gateway-svc", s) }
	own, err := tls.LoadX509KeyPair(file("cert.pem"), file("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, RootCAs: pool, ServerName: name, NextProtos: []string{"h2"}}
	if name == "nats" {
		return natsShows(t, address, cfg)
	}
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// natsShows is the same of a NATS server, which says in plain text who it is before.
func natsShows(t *testing.T, address string, cfg *tls.Config) *x509.Certificate {
	t.Helper()
	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for b := make([]byte, 1); b[0] != '\n'; { // no byte of the handshake must be lost
		if _, err := plain.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	c := tls.Client(plain, cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0]
}
