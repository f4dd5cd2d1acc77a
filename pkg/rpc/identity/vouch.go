package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// proof is how a process vouches for a statement: its signature, by the key of its certificate.
type proof struct {
	Chain     [][]byte `json:"chain"` // the certificate, and what is between it and the authority, in DER
	Signature []byte   `json:"signature"`
}

// vouching comes before what is signed, so that no signature for anything else vouches.
const vouching = "micromesh voucher v1\x00"

// Vouch proves to everybody who trusts the same authority that a process with this certificate makes a statement.
func (i *Identity) Vouch(statement []byte) ([]byte, error) {
	cert, _ := i.current()
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("vouch: the certificate's key can't sign")
	}
	message := append([]byte(vouching), statement...)
	var opts crypto.SignerOpts = crypto.SHA256
	switch key.Public().(type) {
	case ed25519.PublicKey:
		opts = crypto.Hash(0)
	case *rsa.PublicKey:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	if opts.HashFunc() != 0 {
		sum := sha256.Sum256(message)
		message = sum[:]
	}
	signature, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		return nil, fmt.Errorf("vouch: %w", err)
	}
	return json.Marshal(proof{cert.Certificate, signature})
}

// Vouched fails unless the process whose certificate has this DNS name, a service's slug, makes the statement. The
// certificate must be good now: who vouches for long does it again.
func (i *Identity) Vouched(name string, statement, proven []byte) error {
	var p proof
	if err := json.Unmarshal(proven, &p); err != nil || len(p.Chain) == 0 {
		return errors.New("nobody has vouched for this")
	}
	leaf, err := i.leafOf(name, p.Chain)
	if err != nil {
		return err
	}
	if err := leaf.CheckSignature(algorithm(leaf), append([]byte(vouching), statement...), p.Signature); err != nil {
		return fmt.Errorf("verify what is vouched for: %w", err)
	}
	return nil
}

// Bounds of the cache of verified chains. Processes sign their nodes every few seconds with the same certificate.
const (
	verifiedFor = time.Minute
	maxVerified = 1000
)

// verified is the certificate of a chain that was good.
type verified struct {
	leaf *x509.Certificate
	pool *x509.CertPool // by which it was good
	at   time.Time
}

// leafOf returns the first certificate of a chain, which is good now for a name.
func (i *Identity) leafOf(name string, chain [][]byte) (*x509.Certificate, error) {
	_, pool := i.current()
	h := sha256.New()
	for _, part := range append([][]byte{[]byte(name)}, chain...) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // never fails
		_, _ = h.Write(part)
	}
	key := [sha256.Size]byte(h.Sum(nil))
	i.mu.Lock()
	known, ok := i.verified[key]
	i.mu.Unlock()
	if now := time.Now(); ok && known.pool == pool && now.Sub(known.at) < verifiedFor && now.Before(known.leaf.NotAfter) {
		return known.leaf, nil
	}
	leaf, err := verify(name, chain, pool)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verified == nil || len(i.verified) >= maxVerified {
		i.verified = map[[sha256.Size]byte]verified{}
	}
	i.verified[key] = verified{leaf, pool, time.Now()}
	return leaf, nil
}

func verify(name string, chain [][]byte, pool *x509.CertPool) (*x509.Certificate, error) {
	opts := x509.VerifyOptions{DNSName: name, Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	var leaf *x509.Certificate
	for n, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read certificate of who vouches: %w", err)
		}
		if n == 0 {
			leaf = c
			continue
		}
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return nil, fmt.Errorf("verify certificate of who vouches: %w", err)
	}
	return leaf, nil
}

// algorithm is that by which the key of a certificate signs in Vouch.
func algorithm(c *x509.Certificate) x509.SignatureAlgorithm {
	switch c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return x509.ECDSAWithSHA256
	case *rsa.PublicKey:
		return x509.SHA256WithRSAPSS
	case ed25519.PublicKey:
		return x509.PureEd25519
	}
	return x509.UnknownSignatureAlgorithm
}
