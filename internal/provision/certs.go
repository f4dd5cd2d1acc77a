package provision

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"micromesh/pkg/rpc/identity"
)

// authority signs what is missing. Its key is needed only then.
type authority struct {
	signer *identity.Authority // nil where the key is not in the folder
	pem    []byte
	pool   *x509.CertPool
}

const (
	authorityCert = authorityFolder + "/ca.pem"
	authorityKey  = authorityFolder + "/ca.key"
	authorityName = "Micromesh development CA"
)

var errNoKey = errors.New(authorityKey + " is missing: without the authority's key nothing can be signed")

// openAuthority reads the authority, or makes one. Its certificate is written last: a key alone has signed nothing yet.
func (r *run) openAuthority() error {
	cert, err := r.read(authorityCert)
	if err != nil {
		return fmt.Errorf("read authority: %w", err)
	}
	key, err := r.read(authorityKey)
	if err != nil {
		return fmt.Errorf("read authority's key: %w", err)
	}
	a := &authority{pem: cert, pool: x509.NewCertPool()}
	switch {
	case cert == nil:
		if a.signer, err = identity.NewAuthority(authorityName); err != nil {
			return err
		}
		if a.pem, key, err = a.signer.PEM(); err != nil {
			return err
		}
	case key != nil:
		if a.signer, err = identity.ParseAuthority(cert, key); err != nil {
			return fmt.Errorf("read authority in %s: %w", r.path(authorityFolder), err)
		}
	}
	if key != nil {
		if err := r.write(authorityKey, key); err != nil {
			return err
		}
	}
	if !a.pool.AppendCertsFromPEM(a.pem) {
		return fmt.Errorf("%s holds no certificate in PEM", r.path(authorityCert))
	}
	r.authority = a
	return r.write(authorityCert, a.pem)
}

// certs makes the authority, and a certificate for each service and for NATS.
func (r *run) certs() error {
	if err := r.openAuthority(); err != nil {
		return err
	}
	for _, s := range r.cfg.Services {
		if err := r.cert(s.Slug, s.Slug, "localhost"); err != nil {
			return err
		}
	}
	return r.cert(natsFolder, append(r.natsHosts(), "localhost", "127.0.0.1")...)
}

// cert makes a folder's certificate, unless there is one that holds for all of these names.
func (r *run) cert(folder string, want ...string) error {
	if err := r.write(folder+"/ca.pem", r.authority.pem); err != nil {
		return err
	}
	old, err := r.pair(folder)
	if err != nil {
		return err
	}
	if old != nil && r.authority.signed(old) && !slices.ContainsFunc(want, func(n string) bool { return !slices.Contains(names(old), n) }) {
		return nil
	}
	return r.sign(folder, want)
}

// pair gives the certificate of a folder; nil where it or its key is missing, or they don't fit together.
func (r *run) pair(folder string) (*x509.Certificate, error) {
	cert, err := r.read(folder + "/cert.pem")
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, err := r.read(folder + "/key.pem")
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if p, err := tls.X509KeyPair(cert, key); err == nil {
		return p.Leaf, nil
	}
	return nil, nil //nolint:nilnil // it is signed anew then, which is no error
}

// signed tells whether a certificate is one of the authority's. One that has ended is too: Renew is for those.
func (a *authority) signed(c *x509.Certificate) bool {
	_, err := c.Verify(x509.VerifyOptions{Roots: a.pool, CurrentTime: c.NotBefore.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// sign replaces a folder's pair, the key first: whoever reads in between finds that they don't fit, and waits.
func (r *run) sign(folder string, names []string) error {
	if r.authority.signer == nil {
		return errNoKey
	}
	cert, key, err := r.authority.signer.Sign(r.cfg.Life, names...)
	if err != nil {
		return err
	}
	if err := r.write(folder+"/key.pem", key); err != nil {
		return err
	}
	return r.write(folder+"/cert.pem", cert)
}

// Renew replaces the certificates of a folder that end within a time, by such of the same authority with the same names,
// and tells which files it has written. Processes take them up without a restart. Of the configuration it needs Dir and
// Life. Errors: there is no authority, or no key of it.
func Renew(cfg Config, within time.Duration) (written []string, err error) {
	if _, err := os.Stat(filepath.Join(cfg.Dir, authorityCert)); err != nil {
		return nil, fmt.Errorf("%s holds no certificates: make some with `micro certs init`", cfg.Dir)
	}
	return provision(cfg, func(r *run) error { return r.renew(within) })
}

func (r *run) renew(within time.Duration) error {
	if err := r.openAuthority(); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(r.cfg.Dir, "*", "cert.pem"))
	if err != nil {
		return err
	}
	for _, file := range found {
		c, err := leaf(file)
		if err != nil {
			return err
		}
		if time.Until(c.NotAfter) > within {
			continue
		}
		if err := r.sign(filepath.Base(filepath.Dir(file)), names(c)); err != nil {
			return err
		}
	}
	return nil
}

func leaf(file string) (*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return c, nil
}

func names(c *x509.Certificate) []string {
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}
