package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/errs"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/proxy/service"
	"micromesh/proxy/store"
	"micromesh/proxy/subscriber"
)

type table struct{ changes int }

func (t *table) RoutesChanged(context.Context) { t.changes++ }

type world struct {
	svc   *service.Service
	db    *sqldb.DB
	box   *secret.Box
	table *table
	now   time.Time
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	st, err := store.New(t.Context(), db, subscriber.Encode)
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, box: box, table: &table{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.svc = service.New(st, box, w.table, func() time.Time { return w.now })
	return w
}

// each runs a test on both databases.
func each(t *testing.T, f func(t *testing.T, w *world)) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) { f(t, newWorld(t, db)) })
}

func (w *world) events(t *testing.T) (types []string) {
	t.Helper()
	pending, err := w.db.Pending(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range pending {
		types = append(types, strings.TrimPrefix(m.Type, "micromesh.routes.")+" "+m.Key)
	}
	return types
}

func TestRoutesAreSavedCanonically(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		saved, err := w.svc.SaveRoutes(t.Context(), "usr_1", []service.Route{
			{ID: "Shop.Example.com./api/", Target: "HTTP://10.0.0.1/v2/"}, {ID: "[::1]", Target: "https://shop.example.net:8443"},
		})
		want := []service.Route{
			{ID: "shop.example.com/api", Shown: "Shop.Example.com./api/", Target: "http://10.0.0.1:80/v2"}, {ID: "[::1]", Shown: "[::1]", Target: "https://shop.example.net:8443"},
		}
		if err != nil || cmp.Diff(want, saved) != "" {
			t.Fatalf("%v %v", err, cmp.Diff(want, saved))
		}
		w.mustSave(t, service.Route{ID: "shop.example.com/api", Target: "http://10.0.0.2:1"})
		got, err := w.svc.Routes(t.Context(), []string{"SHOP.example.com/api"})
		if err != nil || cmp.Diff([]service.Route{{ID: "shop.example.com/api", Shown: "shop.example.com/api", Target: "http://10.0.0.2:1"}}, got) != "" {
			t.Errorf("%v %v", err, got)
		}
		gone, err := w.svc.DeleteRoutes(t.Context(), "usr_1", []string{"shop.example.com/api/", "unknown.example.com"})
		if err != nil || len(gone) != 1 {
			t.Errorf("deleted %v, %v", gone, err)
		}
		all, err := w.svc.Routes(t.Context(), nil)
		if err != nil || len(all) != 1 || w.table.changes != 3 {
			t.Errorf("left %v, %v; the table was told %d times", all, err, w.table.changes)
		}
		if diff := cmp.Diff([]string{"ROUTE_SAVED shop.example.com/api", "ROUTE_SAVED [::1]", "ROUTE_SAVED shop.example.com/api", "ROUTE_DELETED shop.example.com/api"}, w.events(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func (w *world) mustSave(t *testing.T, r ...service.Route) {
	t.Helper()
	if _, err := w.svc.SaveRoutes(t.Context(), "usr_1", r); err != nil {
		t.Fatal(err)
	}
}

func TestOneWrongRouteSavesNone(t *testing.T) {
	good := service.Route{ID: "good.example.com", Target: "http://10.0.0.1:1"}
	rows := map[string]service.Route{
		"id with a scheme":         {ID: "http://a.example.com", Target: good.Target},
		"id with a port":           {ID: "a.example.com:80", Target: good.Target},
		"id with a user":           {ID: "joe@a.example.com", Target: good.Target},
		"id with a query":          {ID: "a.example.com/x?y", Target: good.Target},
		"id with dot segments":     {ID: "a.example.com/../x", Target: good.Target},
		"id with encoded segments": {ID: "a.example.com/%2e%2e/x", Target: good.Target},
		"id in Cyrillic":           {ID: "ехample.com", Target: good.Target},
		"id that is empty":         {ID: "", Target: good.Target},
		"id twice":                 {ID: "GOOD.example.com", Target: good.Target},
		"target of metadata":       {ID: "a.example.com", Target: "http://169.254.169.254/latest"},
		"target of IPv6 metadata":  {ID: "a.example.com", Target: "http://[fd00:ec2::254]/"},
		"target as a number":       {ID: "a.example.com", Target: "http://2130706433/"},
		"target with a user":       {ID: "a.example.com", Target: "http://a:b@10.0.0.1/"},
		"target with a query":      {ID: "a.example.com", Target: "http://10.0.0.1/?x=1"},
		"target of a file":         {ID: "a.example.com", Target: "file:///etc/passwd"},
		"target with a line break": {ID: "a.example.com", Target: "http://10.0.0.1/\r\nX: y"},
	}
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	w := newWorld(t, db)
	for name, bad := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := w.svc.SaveRoutes(t.Context(), "usr_1", []service.Route{good, bad})
			e := errs.From(err)
			if e == nil || e.Kind != errs.Invalid || len(e.Details) == 0 || !strings.HasPrefix(e.Details[0].Field, "routes[1].") {
				t.Fatalf("got %v, want an Invalid error about routes[1]", err)
			}
			if left, err := w.svc.Routes(t.Context(), nil); err != nil || len(left) != 0 {
				t.Errorf("saved %v, %v", left, err)
			}
		})
	}
}

// pair makes a certificate of some names and its key, as PEM.
func pair(t *testing.T, hosts ...string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "shop.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tpl.IPAddresses = append(tpl.IPAddresses, ip)
		} else {
			tpl.DNSNames = append(tpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}))
}

func TestPrivateKeysLieSealedAndAreNeverListed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		cert, key := pair(t, "shop.example.com")
		save := func() {
			if err := w.svc.SaveCerts(t.Context(), "usr_1", []service.CertInput{{ID: "Shop.example.com", PEM: cert + key}}); err != nil {
				t.Fatal(err)
			}
		}
		save()
		created := w.now
		w.now = w.now.Add(time.Hour)
		save()
		got, err := w.svc.Certs(t.Context(), []string{"SHOP.example.com"})
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		c := got[0]
		if string(c.Chain) != cert || !c.CreatedAt.Equal(created) || !c.UpdatedAt.Equal(w.now) {
			t.Errorf("got %+v", c)
		}
		block, _ := pem.Decode([]byte(key))
		if strings.Contains(string(c.Sealed), string(block.Bytes[:32])) || strings.Contains(string(c.Sealed), "PRIVATE") {
			t.Error("the private key lies readable")
		}
		if plain, err := w.box.Open(c.Sealed, service.CertContext(c.ID)); err != nil || string(plain) != cert+key {
			t.Errorf("opened %q, %v", plain, err)
		}
		if _, err := w.box.Open(c.Sealed, service.CertContext("other.example.com")); err == nil {
			t.Error("it opens as another host's")
		}
	})
}

func TestCertificateMayBeOfAllHostsOfADomain(t *testing.T) {
	w := newWorld(t, sqldbtest.Open(t, sqldbtest.SQLiteURL(t)))
	cert, key := pair(t, "*.example.com")
	if err := w.svc.SaveCerts(t.Context(), "usr_1", []service.CertInput{{ID: "*.Example.com", PEM: cert + key}}); err != nil {
		t.Fatal(err)
	}
	twice := []service.CertInput{{ID: "a.example.com", PEM: cert + key}, {ID: "A.example.com", PEM: cert + key}}
	if err := w.svc.SaveCerts(t.Context(), "usr_1", twice); !errs.Is(err, errs.Invalid) {
		t.Errorf("one host twice: %v, want Invalid", err)
	}
	if got, err := w.svc.Certs(t.Context(), []string{"*.EXAMPLE.com"}); err != nil || len(got) != 1 || got[0].ID != "*.example.com" {
		t.Errorf("of the domain: %v, %v", got, err)
	}
	if got, err := w.svc.Certs(t.Context(), []string{"example.com"}); err != nil || len(got) != 0 {
		t.Errorf("of the host alone: %v, %v", got, err)
	}
	for _, id := range []string{"*", "a.*.example.com", "*.*.example.com", "example.com/x", "example.com:443"} {
		if err := w.svc.SaveCerts(t.Context(), "usr_1", []service.CertInput{{ID: id, PEM: cert + key}}); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", id, err)
		}
	}
}

// A certificate is saved only for hosts that it names: browsers would refuse it for others.
func TestCertificateMustNameItsHost(t *testing.T) {
	w := newWorld(t, sqldbtest.Open(t, sqldbtest.SQLiteURL(t)))
	many := make([]string, 12)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example.com", i)
	}
	for _, r := range []struct {
		names []string
		host  string
		says  string // empty where it is right
	}{
		{[]string{"shop.example.com"}, "SHOP.example.com", ""},
		{[]string{"shop.example.com", "www.example.com"}, "www.example.com", ""},
		{[]string{"*.example.com"}, "shop.example.com", ""},
		{[]string{"*.example.com"}, "*.example.com", ""},
		{[]string{"10.0.0.7"}, "10.0.0.7", ""},
		{many, "h11.example.com", ""},
		{[]string{"shop.example.com", "www.example.com"}, "other.example.com", "is for shop.example.com, www.example.com: it must be for other.example.com"},
		{[]string{"*.example.com"}, "example.com", "is for *.example.com: it must be for example.com"},
		{[]string{"*.example.com"}, "a.b.example.com", "is for *.example.com: "},
		{[]string{"shop.example.com"}, "*.example.com", "it must be for *.example.com"},
		{[]string{"10.0.0.7"}, "10.0.0.8", "is for 10.0.0.7: "},
		{nil, "shop.example.com", "has no subject alternative names"}, // the common name doesn't count
		{many, "h12.example.com", "h9.example.com and 2 more: it must be for h12.example.com"},
	} {
		cert, key := pair(t, r.names...)
		err := w.svc.SaveCerts(t.Context(), "usr_1", []service.CertInput{{ID: r.host, PEM: cert + key}})
		if r.says == "" && err != nil {
			t.Errorf("%s, of %v: %v", r.host, r.names, err)
		}
		if r.says != "" && (!errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), r.says) || errs.From(err).Details[0].Field != "certs[0].cert") {
			t.Errorf("%s, of %v: got %v, want an Invalid error with %q", r.host, r.names, err, r.says)
		}
	}
}

func TestWrongCertificatesAreExplained(t *testing.T) {
	cert, key := pair(t, "shop.example.com")
	_, other := pair(t, "shop.example.com")
	rows := map[string]struct{ pem, want string }{
		"nothing":            {"hello", "no certificate"},
		"key alone":          {key, "no certificate"},
		"certificate alone":  {cert, "no private key"},
		"key of another":     {cert + other, "not the certificate's"},
		"broken certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + key, "can't be read"},
		"broken key":         {cert + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "can't be read"},
	}
	w := newWorld(t, sqldbtest.Open(t, sqldbtest.SQLiteURL(t)))
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			err := w.svc.SaveCerts(t.Context(), "usr_1", []service.CertInput{{ID: "shop.example.com", PEM: r.pem}})
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want an Invalid error with %q", err, r.want)
			}
		})
	}
}
