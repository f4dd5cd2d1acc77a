package provision_test

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/provision"
	"micromesh/pkg/events"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/secret"
)

// content reads a folder's files, by their names in it.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		all[filepath.ToSlash(name)] = read(t, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func secrets(t *testing.T, cfg provision.Config) (written []string) {
	t.Helper()
	written, err := provision.Secrets(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, dir, name)))
	if block == nil {
		t.Fatalf("%s is not in PEM", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEachServiceHasAFolderOfItsOwnWithAllItNeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "secrets")
	written := secrets(t, provision.Config{Dir: dir})
	all := content(t, dir)
	for _, s := range provision.Mesh() {
		want := []string{"ca.pem", "cert.pem", "key.pem", "nats.password", "secret.key"}
		if s.Database {
			want = append(want, "database.url")
		}
		for _, name := range want {
			if all[s.Slug+"/"+name] == "" {
				t.Errorf("%s has no %s", s.Slug, name)
			}
		}
		if _, err := secret.Parse(all[s.Slug+"/secret.key"]); err != nil {
			t.Errorf("%s: %v", s.Slug, err)
		}
		if _, err := identity.Load(identity.Files{
			Cert: filepath.Join(dir, s.Slug, "cert.pem"), Key: filepath.Join(dir, s.Slug, "key.pem"), CA: filepath.Join(dir, s.Slug, "ca.pem"),
		}); err != nil {
			t.Errorf("%s: %v", s.Slug, err)
		}
		c := certificate(t, dir, s.Slug+"/cert.pem")
		if diff := cmp.Diff([]string{s.Slug, "localhost"}, c.DNSNames); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
	}
	if len(written) != len(all) {
		t.Errorf("%d files are there, %d were told", len(all), len(written))
	}
	seen := map[string]string{}
	for name, text := range all {
		if other, twice := seen[text]; twice && filepath.Base(name) != "ca.pem" {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[text] = name
	}
}

func TestSecretsAreReadableForWhoNeedsThemAlone(t *testing.T) {
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir})
	for name := range content(t, dir) {
		want := fs.FileMode(0o600)
		if strings.HasPrefix(name, "nats/") || strings.HasPrefix(name, "postgres/") {
			want = 0o640
		}
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != want {
			t.Errorf("%s is %v, want %v", name, fi.Mode(), want)
		}
	}
}

func TestAgainChangesNothing(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	secrets(t, cfg)
	before := content(t, cfg.Dir)
	if written := secrets(t, cfg); len(written) != 0 {
		t.Errorf("%v were written again", written)
	}
	if diff := cmp.Diff(before, content(t, cfg.Dir)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// A service of another repository is told of by a run of its own, and the mesh's own runs know nothing of it.
func TestLoginsOfOtherRunsStay(t *testing.T) {
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Services: append(provision.Mesh(), provision.Other("basket-svc"), provision.Other("shop-svc"))})
	before := read(t, dir, "nats", "users.conf")
	secrets(t, provision.Config{Dir: dir})
	if diff := cmp.Diff(before, read(t, dir, "nats", "users.conf")); diff != "" {
		t.Errorf("users.conf (-before +after):\n%s", diff)
	}
	secrets(t, provision.Config{Dir: dir, Services: append(provision.Mesh(), provision.Other("shop-svc"))})
	for _, login := range []string{`"basket-svc"`, `"shop-svc"`, `"user-svc"`} {
		if n := strings.Count(read(t, dir, "nats", "users.conf"), "user: "+login); n != 1 {
			t.Errorf("%s is there %d times", login, n)
		}
	}
}

// The script makes the databases of all services that have a folder, whichever runs have named them: backups are restored by it.
func TestDatabasesOfOtherRunsStay(t *testing.T) {
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Services: append(provision.Mesh(), provision.Other("shop-svc"), provision.Other("basket-svc"))})
	before := read(t, dir, "postgres", "init.sql")
	for _, s := range []string{"user_svc", "registry_svc", "proxy_svc", "shop_svc", "basket_svc"} {
		if n := strings.Count(before, `CREATE DATABASE "`+s+`"`); n != 1 {
			t.Errorf("%s is there %d times", s, n)
		}
	}
	if written := secrets(t, provision.Config{Dir: dir}); len(written) != 0 {
		t.Errorf("a run that names no other service has written %v", written)
	}
	secrets(t, provision.Config{Dir: dir, Services: append(provision.Mesh(), provision.Other("audit-svc"))})
	if _, err := provision.Databases(provision.Config{Dir: dir, Services: []provision.Service{{Slug: "reports", Database: true}}}); err != nil {
		t.Fatal(err)
	}
	after := read(t, dir, "postgres", "init.sql")
	for _, s := range []string{"user_svc", "registry_svc", "proxy_svc", "shop_svc", "basket_svc", "audit_svc", "reports"} {
		if n := strings.Count(after, `CREATE DATABASE "`+s+`"`); n != 1 {
			t.Errorf("%s is there %d times after other runs", s, n)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "basket-svc")); err != nil {
		t.Fatal(err)
	}
	secrets(t, provision.Config{Dir: dir})
	if strings.Contains(read(t, dir, "postgres", "init.sql"), "basket_svc") {
		t.Error("a service without a folder is still there")
	}
}

// Each file in turn is lost, or was left empty by a machine that stopped: it is made again, and nothing else is touched
// but what is derived from it. A secret key is not replaced: see TestLostSecretsAreNotReplacedSilently.
func TestHalfWrittenFolderIsCompleted(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	secrets(t, cfg)
	derived := map[string][]string{
		"user-svc/cert.pem": {"user-svc/key.pem"}, "user-svc/key.pem": {"user-svc/cert.pem"},
		"user-svc/nats.password": {"nats/users.conf"}, "user-svc/database.url": {"postgres/init.sql"},
		"user-svc/ca.pem": nil, "nats/users.conf": nil, "nats/routes.conf": nil, "nats/routes.password": {"nats/routes.conf"},
		"nats/key.pem": {"nats/cert.pem"}, "postgres/password": nil, "postgres/init.sql": nil, "admin/nats.password": {"nats/users.conf"},
	}
	for lost, also := range derived {
		for name, lose := range map[string]func(string) error{
			"lost":  os.Remove,
			"empty": func(file string) error { return os.Truncate(file, 0) },
		} {
			before := content(t, cfg.Dir)
			if err := lose(filepath.Join(cfg.Dir, lost)); err != nil {
				t.Fatal(err)
			}
			secrets(t, cfg)
			for file, text := range content(t, cfg.Dir) {
				if text == "" {
					t.Errorf("%s, %s: %s is empty", lost, name, file)
				}
				if file != lost && text != before[file] && !slices.Contains(also, file) {
					t.Errorf("%s, %s: %s has changed", lost, name, file)
				}
			}
		}
	}
}

func TestFurtherNATSServersGetTheirName(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	secrets(t, cfg)
	cfg.NATSHosts = []string{"nats-2", "nats-3"}
	written := secrets(t, cfg)
	if diff := cmp.Diff([]string{"nats/key.pem", "nats/cert.pem", "nats/routes.conf"}, written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	if c := certificate(t, cfg.Dir, "nats/cert.pem"); c.VerifyHostname("nats-3") != nil || c.VerifyHostname("localhost") != nil {
		t.Errorf("the certificate is for %v", c.DNSNames)
	}
	if conf := read(t, cfg.Dir, "nats/routes.conf"); strings.Count(conf, "@nats") != 3 {
		t.Errorf("routes are\n%s", conf)
	}
}

func TestLostAuthority(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	secrets(t, cfg)
	before := certificate(t, cfg.Dir, "user-svc/cert.pem")
	remove := func(name string) {
		if err := os.Remove(filepath.Join(cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	remove("ca/ca.key")
	if written := secrets(t, cfg); len(written) != 0 {
		t.Errorf("without the key, which is kept elsewhere, %v were written", written)
	}
	remove("user-svc/key.pem")
	if _, err := provision.Secrets(cfg); err == nil || !strings.Contains(err.Error(), "ca/ca.key is missing") {
		t.Errorf("signed without the key: %v", err)
	}
	remove("ca/ca.pem")
	secrets(t, cfg)
	for _, name := range []string{"user-svc", "gateway-svc", "nats"} {
		if err := certificate(t, cfg.Dir, name+"/cert.pem").CheckSignatureFrom(certificate(t, cfg.Dir, name+"/ca.pem")); err != nil {
			t.Errorf("%s has a certificate of another authority: %v", name, err)
		}
	}
	if certificate(t, cfg.Dir, "user-svc/cert.pem").Equal(before) {
		t.Error("the certificate of the lost authority is still there")
	}
}

func TestRenewReplacesWhatEnds(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir(), Life: 48 * time.Hour, NATSHosts: []string{"nats-2"}}
	if _, err := provision.Certs(cfg); err != nil {
		t.Fatal(err)
	}
	long := provision.Config{Dir: cfg.Dir, Life: 1000 * time.Hour, Services: []provision.Service{provision.Other("basket-svc")}}
	if _, err := provision.Certs(long); err != nil {
		t.Fatal(err)
	}
	if written, err := provision.Renew(long, 24*time.Hour); err != nil || len(written) != 0 {
		t.Errorf("renewed %v, %v; nothing ends within a day", written, err)
	}
	written, err := provision.Renew(long, 72*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{}
	for _, name := range []string{"forwarder-svc", "gateway-svc", "nats", "proxy-svc", "registry-svc", "user-svc"} {
		want = append(want, name+"/key.pem", name+"/cert.pem")
	}
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
	c := certificate(t, cfg.Dir, "nats/cert.pem")
	if time.Until(c.NotAfter) < 999*time.Hour || !slices.Contains(c.DNSNames, "nats-2") || len(c.IPAddresses) != 1 {
		t.Errorf("the new certificate is for %v and %v until %v", c.DNSNames, c.IPAddresses, c.NotAfter)
	}
	if err := c.CheckSignatureFrom(certificate(t, cfg.Dir, "ca/ca.pem")); err != nil {
		t.Error(err)
	}
}

func TestRenewNeedsCertificates(t *testing.T) {
	if _, err := provision.Renew(provision.Config{Dir: t.TempDir()}, time.Hour); err == nil || !strings.Contains(err.Error(), "micro certs init") {
		t.Errorf("renewed nothing: %v", err)
	}
}

// Ten that start at once agree on one set of secrets.
func TestAtTheSameTime(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	errs := make(chan error)
	for range 10 {
		go func() {
			_, err := provision.Secrets(cfg)
			errs <- err
		}()
	}
	for range 10 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if written := secrets(t, cfg); len(written) != 0 {
		t.Errorf("%v were left out", written)
	}
}

func TestWrongNamesAreToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	_, err := provision.Secrets(provision.Config{
		Dir: dir, Life: time.Second, Postgres: "db", NATSHosts: []string{`x" }`},
		Services: []provision.Service{{Slug: "../x"}, {Slug: `x"; DROP TABLE y`}, {Slug: "nats"}, {Slug: "a-svc"}, {Slug: "a-svc"}, {Slug: "A"}},
	})
	if err == nil {
		t.Fatal("wrong names were taken")
	}
	for _, want := range []string{`"../x"`, "DROP TABLE", `"nats"`, `"a-svc"`, `"A"`, `"db"`, "1s", `no name of a host`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if got := content(t, dir); len(got) != 0 {
		t.Errorf("%d files were made", len(got))
	}
}

// TestPublishersAreBelieved compares who may publish a topic with whose events of it are believed.
func TestPublishersAreBelieved(t *testing.T) {
	for _, s := range append(provision.Mesh(), provision.Other("basket-svc")) {
		for _, topic := range s.Topics {
			if owner := events.Owner(topic); owner != s.Slug {
				t.Errorf("%s publishes %s, of which %s is believed", s.Slug, topic, owner)
			}
		}
	}
}

// TestLostSecretsAreNotReplacedSilently removes and empties secrets that cannot be made anew without a loss.
func TestLostSecretsAreNotReplacedSilently(t *testing.T) {
	for _, name := range []string{"user-svc/secret.key", "proxy-svc/secret.key"} {
		for what, lose := range map[string]func(string) error{
			"missing": os.Remove,
			"empty":   func(file string) error { return os.WriteFile(file, nil, 0o600) },
		} {
			dir := t.TempDir()
			secrets(t, provision.Config{Dir: dir})
			file := filepath.Join(dir, filepath.FromSlash(name))
			before := read(t, file)
			if err := lose(file); err != nil {
				t.Fatal(err)
			}
			_, err := provision.Secrets(provision.Config{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "restore it") {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err := os.WriteFile(file, []byte(before+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if written := secrets(t, provision.Config{Dir: dir}); len(written) > 0 {
				t.Errorf("%s restored: %v were written", name, written)
			}
		}
	}
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir})
	before := read(t, dir, "user-svc/secret.key")
	for _, name := range []string{"secret.key", "nats.password"} {
		if err := os.Remove(filepath.Join(dir, "user-svc", name)); err != nil {
			t.Fatal(err)
		}
	}
	secrets(t, provision.Config{Dir: dir})
	if read(t, dir, "user-svc/secret.key") == before {
		t.Error("the key is the one that was lost")
	}
}
