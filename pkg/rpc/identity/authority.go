package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Authority signs the certificates of a mesh's processes: a CA of its own, for a development machine or a small mesh.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	backdate      = 5 * time.Minute // for clocks that are behind
)

// NewAuthority makes an authority with a new key (ECDSA P-256), good for ten years.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert, key, der}, err
}

// ParseAuthority reads an authority from its certificate and its key, in PEM.
func ParseAuthority(cert, key []byte) (*Authority, error) {
	c, _ := pem.Decode(cert)
	k, _ := pem.Decode(key)
	if c == nil || k == nil {
		return nil, errors.New("an authority is a certificate and a key in PEM")
	}
	parsed, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority's certificate: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority's key: %w", err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok || !parsed.IsCA || !ec.PublicKey.Equal(parsed.PublicKey) {
		return nil, errors.New("the certificate and the key are not those of one authority")
	}
	return &Authority{parsed, ec, c.Bytes}, nil
}

// PEM gives the authority's certificate and its key.
func (a *Authority) PEM() (cert, key []byte, err error) { return encode(a.der, a.key) }

// Sign makes a key and a certificate for a process: to be shown to clients and servers alike, under these names, which
// are DNS names or IP addresses. The first is the subject's.
func (a *Authority) Sign(life time.Duration, names ...string) (cert, key []byte, err error) {
	if len(names) == 0 || life <= 0 {
		return nil, nil, errors.New("a certificate needs a name and a life")
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: names[0]}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate of %s: %w", names[0], err)
	}
	return encode(der, private)
}

func encode(der []byte, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), nil
}

// serial is 127 random bits, as RFC 5280 and CABF want at least 64 of.
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // rand.Reader never fails
	}
	return n
}
