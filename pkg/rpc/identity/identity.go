// Package identity is what a process shows of itself on RPC, and whom it trusts: a certificate with the service's slug as
// its DNS name, its key, and the certificates of the mesh's own authority. Both ends of each connection verify the other
// (mutual TLS 1.3, RFC 8446): a client that was not signed by the authority gets no further than the handshake, and a
// node that isn't the service that was called is not spoken to.
//
// With each handshake the files are read again if they have changed, so that certificates and authorities are replaced without a restart.
package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// Files hold an identity, in PEM.
type Files struct {
	Cert string // the certificate, and what is between it and the authority
	Key  string // its private key
	CA   string // certificates of authorities; several while one replaces the other
}

// Identity is a process's. Its methods are safe for concurrent use.
type Identity struct {
	files Files

	mu    sync.Mutex
	stamp [3]time.Time // when the files were changed
	cert  tls.Certificate
	pool  *x509.CertPool

	verified map[[sha256.Size]byte]verified // chains of those who vouch, by name and content
}

// Load reads an identity. Errors are one line for the operator.
func Load(files Files) (*Identity, error) {
	i := &Identity{files: files}
	stamp, err := i.stamps()
	if err != nil {
		return nil, err
	}
	if err := i.read(stamp); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Identity) stamps() (stamp [3]time.Time, err error) {
	for n, f := range []string{i.files.Cert, i.files.Key, i.files.CA} {
		fi, err := os.Stat(f)
		if err != nil {
			return stamp, fmt.Errorf("read certificate: %w", err)
		}
		stamp[n] = fi.ModTime()
	}
	return stamp, nil
}

func (i *Identity) read(stamp [3]time.Time) error {
	cert, err := tls.LoadX509KeyPair(i.files.Cert, i.files.Key)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", i.files.Cert, i.files.Key, err)
	}
	pem, err := os.ReadFile(i.files.CA)
	if err != nil {
		return fmt.Errorf("read authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read authority: %s holds no certificate in PEM", i.files.CA)
	}
	i.cert, i.pool, i.stamp = cert, pool, stamp
	return nil
}

// current gives what the files say. Where they can't be read, or don't fit together as while they are being replaced,
// what they said before is still good.
func (i *Identity) current() (tls.Certificate, *x509.CertPool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if stamp, err := i.stamps(); err == nil && stamp != i.stamp {
		_ = i.read(stamp) // tried again at the next handshake
	}
	return i.cert, i.pool
}

// Server is how a server shows itself, and accepts clients.
func (i *Identity) Server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, pool := i.current()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			}, nil
		},
	})
}

// Client is how a client shows itself, and accepts servers. The name that it expects of a server is the connection's
// authority: the slug of the service.
func (i *Identity) Client() credentials.TransportCredentials { return client{i} }

// client reads the identity anew for each connection.
type client struct{ identity *Identity }

var _ credentials.TransportCredentials = client{}

// ClientHandshake implements credentials.TransportCredentials.
func (c client) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(c.identity.TLS()).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (client) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: a client's credentials serve nobody")
}

// Info implements credentials.TransportCredentials.
func (client) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c client) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials; grpc-go's WithAuthority does what it did.
func (client) OverrideServerName(string) error {
	return errors.New("identity: the server's name is the connection's authority")
}

// TLS is a client's configuration as the files say it now, for connections other than RPC, such as those to NATS. It
// has no server name yet.
func (i *Identity) TLS() *tls.Config {
	cert, pool := i.current()
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool}
}

// Check fails unless the certificate is of the service with a slug, is valid now, and is signed by an authority that the process trusts.
// Other processes would refuse its connections. Errors are one line for the operator, and name the file.
func (i *Identity) Check(slug string) error {
	cert, pool := i.current()
	leaf := cert.Leaf
	if err := leaf.VerifyHostname(slug); err != nil {
		return fmt.Errorf("certificate %s is of %v, not of %s: restore it, or make it with `micro certs init`", i.files.Cert, leaf.DNSNames, slug)
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return fmt.Errorf("certificate %s is valid from %s to %s: renew it with `micro certs renew`", i.files.Cert, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("certificate %s is not signed by an authority in %s: one of them is another mesh's, restore it", i.files.Cert, i.files.CA)
	}
	return nil
}
