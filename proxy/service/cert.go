package service

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
)

// Cert is a host's certificate. The private key is sealed, and opened only to serve with it.
type Cert struct {
	ID        string // the host
	Chain     []byte // PEM, the leaf first
	Sealed    []byte // PEM of the chain and the private key, sealed for CertContext(ID)
	CreatedAt time.Time
	UpdatedAt time.Time
}

// CertContext is what a sealed certificate is bound to: another host's can't be put in its place.
func CertContext(id string) string { return "proxy-svc cert " + id }

// CertInput is a certificate as it is given: PEM of the chain and of the private key.
type CertInput struct{ ID, PEM string }

// Leaf is the certificate itself, without what it chains to.
func (c *Cert) Leaf() (*x509.Certificate, error) {
	block, _ := pem.Decode(c.Chain)
	if block == nil {
		return nil, errors.New("the stored chain holds no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// SaveCerts creates or replaces certificates, all of them or none.
//
// Errors: Invalid, which names every certificate that is wrong; Unavailable.
func (s *Service) SaveCerts(ctx context.Context, actor string, in []CertInput) error {
	var bad wrong
	certs := make([]Cert, 0, len(in))
	events := make([]Event, 0, len(in))
	for i, c := range in {
		id, err := certID(c.ID)
		bad.add(fmt.Sprintf("certs[%d].id", i), err)
		if slices.ContainsFunc(certs, func(o Cert) bool { return o.ID == id }) && id != "" {
			bad.add(fmt.Sprintf("certs[%d].id", i), errors.New("is named twice"))
		}
		chain, leaf, err := parseCert([]byte(c.PEM))
		if err == nil && id != "" {
			err = covers(leaf, id)
		}
		bad.add(fmt.Sprintf("certs[%d].cert", i), err)
		if err != nil {
			continue
		}
		now := s.now()
		certs = append(certs, Cert{ID: id, Chain: chain, Sealed: s.sealer.Seal([]byte(c.PEM), CertContext(id)), CreatedAt: now, UpdatedAt: now})
		events = append(events, Event{ID: id, ActorID: actor, What: CertSaved{leaf.NotAfter}, Time: now})
	}
	if err := bad.err(); err != nil {
		return err
	}
	if err := s.store.SaveCerts(ctx, certs, events); err != nil {
		return fmt.Errorf("save certificates: %w", err)
	}
	return nil
}

// Certs lists certificates by host, or all.
//
// Errors: Unavailable.
func (s *Service) Certs(ctx context.Context, ids []string) ([]Cert, error) {
	for i, id := range ids {
		if c, err := certID(id); err == nil {
			ids[i] = c
		}
	}
	certs, err := s.store.Certs(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	return certs, nil
}

// DeleteCerts deletes certificates with their private keys: all that are named, or none.
//
// Errors: Invalid, NotFound, Unavailable.
func (s *Service) DeleteCerts(ctx context.Context, actor string, ids []string) error {
	hosts := make([]string, len(ids))
	for i, id := range ids {
		var err error
		if hosts[i], err = certID(id); err != nil {
			return errs.Field(fmt.Sprintf("ids[%d]", i), "host", "%s", err)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	have, err := s.Certs(ctx, slices.Clone(hosts))
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if !slices.ContainsFunc(have, func(c Cert) bool { return c.ID == host }) {
			return errs.NotFoundf("there is no certificate of %q", host)
		}
	}
	_, err = s.store.DeleteCerts(ctx, hosts, func(id string) Event {
		return Event{ID: id, ActorID: actor, What: CertDeleted{}, Time: s.now()}
	})
	if err != nil {
		return fmt.Errorf("delete certificates: %w", err)
	}
	return nil
}

// covers returns an error that lists the names of a certificate if none of them is that of a host. A wildcard in the id of the host
// takes the same wildcard in the certificate.
func covers(leaf *x509.Certificate, id string) error {
	if leaf.VerifyHostname(id) == nil {
		return nil
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	switch more := len(names) - mostNames; {
	case len(names) == 0:
		return fmt.Errorf("has no subject alternative names: it must be for %s", id)
	case more > 0:
		return fmt.Errorf("is for %s and %d more: it must be for %s", strings.Join(names[:mostNames], ", "), more, id)
	}
	return fmt.Errorf("is for %s: it must be for %s", strings.Join(names, ", "), id)
}

const mostNames = 10 // that an error lists

// certID is a host, or one with a wildcard as its first label.
func certID(id string) (string, error) {
	name, wildcard := strings.CutPrefix(id, "*.")
	host, err := routing.ParseHost(name)
	if err != nil {
		return "", err
	}
	if wildcard {
		return "*." + host, nil
	}
	return host, nil
}

// parseCert reads PEM of a chain and its private key, and gives the chain alone.
func parseCert(in []byte) (chain []byte, leaf *x509.Certificate, err error) {
	var key crypto.Signer
	var out bytes.Buffer
	for rest := in; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, errors.New("holds a certificate that can't be read")
			}
			if leaf == nil {
				leaf = c
			}
			if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
				return nil, nil, err
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if key, err = parseKey(block); err != nil {
				return nil, nil, err
			}
		}
	}
	switch {
	case leaf == nil:
		return nil, nil, errors.New("holds no certificate: it must be PEM with BEGIN CERTIFICATE")
	case key == nil:
		return nil, nil, errors.New("holds no private key: put it behind the certificates")
	case !sameKey(leaf.PublicKey, key.Public()):
		return nil, nil, errors.New("holds a private key that is not the certificate's: the certificate of the host comes first")
	}
	return out.Bytes(), leaf, nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			return k, nil
		case *ecdsa.PrivateKey:
			return k, nil
		case ed25519.PrivateKey:
			return k, nil
		}
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("holds a private key that can't be read: it must be RSA, ECDSA or Ed25519, without a passphrase")
}

func sameKey(a, b crypto.PublicKey) bool {
	eq, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && eq.Equal(b)
}
