package provision_test

import (
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"micromesh/internal/provision"
)

// guests are the two NATS servers of a mesh that services in plain go-micro may join.
type guests struct {
	mesh, own natsServer
}

func startGuests(t *testing.T) guests {
	t.Helper()
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Guests: "nats-guests:4222"})
	return guests{serveNATS(t, dir, "nats.conf", "nats"), serveNATS(t, dir, "guests.conf", "nats-guests")}
}

// login is how a file of the secrets logs in, at the address of the test's server.
func (g guests) login(t *testing.T, file string) (address string, user *url.Userinfo) {
	t.Helper()
	u, err := url.Parse(read(t, g.own.secrets, file))
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != "nats-guests:4222" {
		t.Errorf("%s leads to %s", file, u.Host)
	}
	u.Host = strings.TrimPrefix(g.own.url, "tls://")
	return u.String(), u.User
}

// connect connects as go-micro does: by a URL, and by authorities that the environment names.
func (g guests) connect(t *testing.T, file string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	address, _ := g.login(t, file)
	nc, err := nats.Connect(address, append(opts, nats.RootCAs(filepath.Join(g.own.secrets, "guest", "ca.pem")))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestGuestsAreByThemselves(t *testing.T) {
	g := startGuests(t)
	nc := g.connect(t, "guest/nats.url")
	for _, subject := range []string{"micro.nats.query", "micro.nats.watch", "topic.of.their.own", "_INBOX_registry-svc.x"} {
		if err := publish(nc, subject); err != nil {
			t.Error(err)
		}
	}
	for _, subject := range []string{"micro.nats.query", "micro.nats.watch", "_INBOX.>"} {
		if err := subscribe(nc, subject); err != nil {
			t.Error(err)
		}
	}
	if err := subscribe(nc, "_INBOX_registry-svc.>"); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a guest may hear what is answered to the registry: %v", err)
	}
	for _, subject := range []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.KV_keys", "$KV.keys.x"} {
		if _, err := nc.Request(subject, nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s is answered to a guest: %v", subject, err)
		}
	}
}

// A login is good on one of the servers alone.
func TestGuestsLoginsAreGuestsAlone(t *testing.T) {
	g := startGuests(t)
	_, guest := g.login(t, "guest/nats.url")
	_, bridge := g.login(t, "registry-svc/guests.url")
	for _, user := range []*url.Userinfo{guest, bridge} {
		password, _ := user.Password()
		if nc, err := nats.Connect(g.mesh.url, append(g.mesh.tls("gateway-svc"), nats.UserInfo(user.Username(), password))...); err == nil {
			nc.Close()
			t.Errorf("%s's login of the guests' server is good on the mesh's", user.Username())
		}
	}
	ca := nats.RootCAs(filepath.Join(g.own.secrets, "guest", "ca.pem"))
	password, _ := guest.Password()
	for name, opts := range map[string][]nats.Option{
		"no login":                {ca},
		"a wrong password":        {ca, nats.UserInfo("guest", "wrong")},
		"the mesh's login":        {ca, nats.UserInfo("registry-svc", read(t, g.own.secrets, "registry-svc", "nats.password"))},
		"the operators' login":    {ca, nats.UserInfo("admin", read(t, g.own.secrets, "admin", "nats.password"))},
		"a server that's unknown": {nats.UserInfo("guest", password)},
	} {
		if nc, err := nats.Connect(g.own.url, opts...); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

func TestRegistryAsksGuestsAndBringsThemIn(t *testing.T) {
	g := startGuests(t)
	asks := g.connect(t, "registry-svc/guests.url", nats.CustomInboxPrefix("_INBOX_registry-svc"))
	if err := errors.Join(publish(asks, "micro.nats.query"), publish(asks, "micro.nats.watch"), publish(asks, "_INBOX.x"), subscribe(asks, "micro.nats.query"), subscribe(asks, "micro.nats.watch"), subscribe(asks, asks.NewInbox())); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{">", "_INBOX.>"} {
		if err := subscribe(asks, subject); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("the registry may hear %s: %v", subject, err)
		}
	}
	brings := g.mesh.connect(t, "registry-svc")
	for _, subject := range []string{"$KV.nodes.users.1", "$KV.nodes.registry-svc.1"} {
		if err := publish(brings, subject); err != nil {
			t.Error(err)
		}
	}
	for _, subject := range []string{"$KV.nodes.user-svc.1", "$KV.nodes.proxy-svc.1", "$KV.nodes.gateway-svc.1", "$KV.keys.x", "$KV.nodes.a.b.c", "micro.nats.watch"} {
		if err := publish(brings, subject); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("the registry may publish to %s: %v", subject, err)
		}
	}
	other := g.mesh.connect(t, "proxy-svc")
	if err := publish(other, "$KV.nodes.users.1"); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("another service brings guests in: %v", err)
	}
}

func TestGuestsCanBeLetInLater(t *testing.T) {
	cfg := provision.Config{Dir: t.TempDir()}
	secrets(t, cfg)
	before := content(t, cfg.Dir)
	cfg.Guests = "nats-guests:4222"
	secrets(t, cfg)
	after := content(t, cfg.Dir)
	for file, text := range before {
		if after[file] != text && file != "nats/users.conf" {
			t.Errorf("%s has changed", file)
		}
	}
	if written := secrets(t, cfg); len(written) != 0 {
		t.Errorf("another run writes %v", written)
	}
}

// A run that is told of no guests, as one for another service, leaves theirs as it is.
func TestGuestsOfOtherRunsStay(t *testing.T) {
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Guests: "nats-guests:4222"})
	before := content(t, dir)
	if written := secrets(t, provision.Config{Dir: dir}); len(written) != 0 {
		t.Errorf("written were %v", written)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("the folder (-before +after):\n%s", diff)
	}
}

// TestAnAccountsLoginProvesItsNameAlone is about the subjects by which the registry tells whose login a program has.
func TestAnAccountsLoginProvesItsNameAlone(t *testing.T) {
	dir := t.TempDir()
	cfg := provision.Config{Dir: dir, Guests: "nats-guests:4222", Services: append(provision.Mesh(), provision.Other("shop-svc"))}
	secrets(t, cfg)
	cfg.Services = nil // a later run without the service keeps its login
	secrets(t, cfg)
	g := guests{own: serveNATS(t, dir, "guests.conf", "nats-guests")}
	shop, guest := g.connect(t, "shop-svc/guests.url"), g.connect(t, "guest/nats.url")
	for _, subject := range []string{"mesh.login.shop-svc.x", "micro.nats.query", "micro.nats.watch", "_INBOX.x", "shop-svc.topic"} {
		if err := publish(shop, subject); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for name, nc := range map[string]*nats.Conn{"shop-svc": shop, "a guest": guest} {
		for _, subject := range []string{"mesh.login.other-svc.x", "mesh.login.x.y.z"} {
			if err := publish(nc, subject); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s may publish to %s: %v", name, subject, err)
			}
		}
		for _, subject := range []string{"mesh.login.>", "_INBOX_registry-svc.>"} {
			if err := subscribe(nc, subject); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s may subscribe to %s: %v", name, subject, err)
			}
		}
	}
	if err := publish(guest, "mesh.login.shop-svc.x"); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a guest may prove to be shop-svc: %v", err)
	}
	asks := g.connect(t, "registry-svc/guests.url", nats.CustomInboxPrefix("_INBOX_registry-svc"))
	if err := subscribe(asks, "mesh.login.*.x"); err != nil {
		t.Error(err)
	}
}

// TestWithoutALoginAProgramIsAGuest is about deploy/nats/guests-open.conf: whoever connects there without a login has a guest's rights.
func TestWithoutALoginAProgramIsAGuest(t *testing.T) {
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Guests: "nats-guests:4222"})
	before := content(t, dir)
	if written := secrets(t, provision.Config{Dir: dir, Guests: "nats-guests:4222"}); len(written) != 0 {
		t.Errorf("another run writes %v", written)
	}
	if diff := cmp.Diff(before, content(t, dir)); diff != "" {
		t.Errorf("the folder (-before +after):\n%s", diff)
	}
	g := guests{own: serveNATS(t, dir, "guests-open.conf", "nats-guests")}
	nobody, err := nats.Connect(strings.Replace(g.own.url, "tls://", "nats://", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nobody.Close)
	if nobody.TLSRequired() {
		t.Error("the connection needs TLS")
	}
	asks := g.connect(t, "registry-svc/guests.url", nats.CustomInboxPrefix("_INBOX_registry-svc"))
	calls := g.connect(t, "gateway-svc/guests.url", nats.CustomInboxPrefix("_INBOX_gateway-svc"))
	if err := errors.Join(publish(nobody, "micro.nats.watch"), subscribe(nobody, "micro.nats.query"), publish(asks, "micro.nats.query"), publish(calls, "_INBOX.x"), subscribe(calls, calls.NewInbox())); err != nil {
		t.Error(err)
	}
	for _, subject := range []string{"_INBOX_registry-svc.>", "_INBOX_gateway-svc.>", "mesh.login.>"} {
		if err := subscribe(nobody, subject); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a program without a login may subscribe to %s: %v", subject, err)
		}
	}
	if err := publish(nobody, "mesh.login.shop-svc.x"); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a program without a login may prove a name: %v", err)
	}
	for _, subject := range []string{"micro.nats.query", "micro.nats.watch", "mesh.login.x.y"} {
		if err := publish(calls, subject); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("the gateway may publish to %s: %v", subject, err)
		}
	}
	if err := subscribe(calls, "_INBOX.>"); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("the gateway may hear others' answers: %v", err)
	}
}
