package provision_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"micromesh/internal/provision"
	"micromesh/pkg/natsconn"
)

// natsServer is one that runs with the configuration of deploy/nats and the secrets of a folder.
type natsServer struct {
	url     string
	secrets string
}

func startNATS(t *testing.T, services ...provision.Service) natsServer {
	t.Helper()
	dir := t.TempDir()
	secrets(t, provision.Config{Dir: dir, Services: append(provision.Mesh(), services...)})
	return serveNATS(t, dir, "nats.conf", "nats")
}

// serveNATS runs a server with a configuration of deploy/nats, and with what a folder of the secrets holds.
func serveNATS(t *testing.T, dir, config, folder string) natsServer {
	t.Helper()
	conf := read(t, "..", "..", "deploy", "nats", config)
	conf = strings.NewReplacer("/etc/nats/secrets", filepath.Join(dir, folder), "secrets/users.conf", folder+"/users.conf", "secrets/open.conf", folder+"/open.conf", "/data", t.TempDir(), "$NATS_NAME", "nats").Replace(conf)
	file := filepath.Join(dir, config)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPPort, opts.NoSigs, opts.NoLog = "127.0.0.1", -1, 0, true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS server was not ready in time")
	}
	return natsServer{"tls://" + srv.Addr().String(), dir}
}

// options are those of a login's processes.
func (s natsServer) options(t *testing.T, login string) []nats.Option {
	t.Helper()
	return append(s.tls("gateway-svc"), nats.UserInfo(login, read(t, s.secrets, login, "nats.password")), nats.CustomInboxPrefix("_INBOX_"+login))
}

// tls shows a service's certificate.
func (s natsServer) tls(service string) []nats.Option {
	return []nats.Option{
		nats.RootCAs(filepath.Join(s.secrets, service, "ca.pem")),
		nats.ClientCert(filepath.Join(s.secrets, service, "cert.pem"), filepath.Join(s.secrets, service, "key.pem")),
	}
}

func (s natsServer) connect(t *testing.T, login string) *nats.Conn {
	t.Helper()
	nc, err := natsconn.Connect(t.Context(), natsconn.Config{URL: s.url, Name: login, Logger: slog.New(slog.DiscardHandler), Extra: s.options(t, login)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestWithoutCredentialsNobodyConnects(t *testing.T) {
	s := startNATS(t)
	password := read(t, s.secrets, "user-svc", "nats.password")
	hash := strings.Split(read(t, s.secrets, "nats", "users.conf"), `"`)[3]
	for name, c := range map[string]struct {
		opts []nats.Option
		says string
	}{
		"no login":                    {s.tls("user-svc"), "Authorization Violation"},
		"wrong password":              {append(s.tls("user-svc"), nats.UserInfo("user-svc", "wrong")), "Authorization Violation"},
		"another's password":          {append(s.tls("user-svc"), nats.UserInfo("admin", password)), "Authorization Violation"},
		"the hash for a password":     {append(s.tls("user-svc"), nats.UserInfo("admin", hash)), "Authorization Violation"},
		"unknown login":               {append(s.tls("user-svc"), nats.UserInfo("root", password)), "Authorization Violation"},
		"a token":                     {append(s.tls("user-svc"), nats.Token(password)), "Authorization Violation"},
		"no certificate":              {[]nats.Option{nats.RootCAs(filepath.Join(s.secrets, "ca", "ca.pem")), nats.UserInfo("user-svc", password)}, "tls"},
		"server of another authority": {[]nats.Option{nats.UserInfo("user-svc", password)}, "unknown authority"},
	} {
		nc, err := nats.Connect(s.url, c.opts...)
		if err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := nats.Connect(s.url, s.options(t, "user-svc")...); err != nil {
		t.Errorf("with credentials: %v", err)
	}
}

// denied are what no service may do.
var denied = struct{ publish, subscribe []string }{
	publish: []string{
		"micro.nats.watch", "micro.nats.query", "anything", "events.other", "events", "$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.$G.CONNECT",
		"$JS.API.STREAM.DELETE.KV_keys", "$JS.API.STREAM.PURGE.KV_permits", "$JS.API.STREAM.DELETE.events", "$JS.API.STREAM.PURGE.events",
		"$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.KV_nodes", "$JS.API.STREAM.UPDATE.KV_permits", "$JS.API.STREAM.UPDATE.KV_instances",
		"$JS.API.STREAM.UPDATE.KV_routing", "$JS.API.STREAM.UPDATE.events", "$JS.API.STREAM.UPDATE.KV_permits", "$JS.API.STREAM.UPDATE.KV_instances",
		"$JS.API.STREAM.UPDATE.KV_routing", "$JS.API.STREAM.UPDATE.events", "$JS.API.STREAM.MSG.DELETE.KV_keys", "$JS.API.STREAM.MSG.GET.KV_keys",
		"$JS.API.STREAM.SNAPSHOT.KV_keys", "$JS.API.STREAM.RESTORE.KV_keys", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.LIST.events",
		"$JS.API.CONSUMER.NAMES.KV_keys", "$JS.API.CONSUMER.CREATE.other.x", "$JS.API.CONSUMER.DURABLE.CREATE.events.x", "$JS.API.SERVER.REMOVE",
		"$JS.API.META.LEADER.STEPDOWN", "$JS.API.STREAM.LEADER.STEPDOWN.events", "$JS.API.ACCOUNT.PURGE.$G", "$JS.ACK.events.x.1.1.1.1.1",
		"$KV.nodes.other-svc.1", "$KV.signers.other-svc.x", "$KV.signers.x", "$KV.other.x", "mesh.other-svc.x", "mesh.x",
	},
	subscribe: []string{
		">", "*", "_INBOX.>", "_INBOX_other-svc.>", "_INBOX_*.>", "events.>", "events.accounts", "$KV.>", "$KV.keys.>", "micro.>", "micro.nats.watch", "mesh.>", "mesh.other-svc.>",
		"$SYS.>", "$JS.API.>", "$JS.EVENT.ADVISORY.>", "$JS.ACK.>", "$JS.FC.>",
	},
}

// own are what a service may publish to, which nobody else may.
var own = map[string][]string{
	"user-svc": {
		"$KV.keys.x", "$KV.permits.x", "$KV.revocations.s.x", "events.accounts", "$KV.nodes.user-svc.1", "$KV.signers.user-svc.x",
		"$JS.API.STREAM.CREATE.KV_keys", "$JS.API.STREAM.CREATE.KV_permits", "$JS.API.STREAM.CREATE.KV_revocations", "mesh.user-svc.x",
	},
	"registry-svc":  {"$KV.instances.x.y", "events.instances", "$KV.nodes.registry-svc.1", "$KV.signers.registry-svc.x", "$JS.API.STREAM.CREATE.KV_instances", "mesh.registry-svc.changed"},
	"proxy-svc":     {"$KV.routing.x.y", "events.routes", "$KV.nodes.proxy-svc.1", "$KV.signers.proxy-svc.x", "$JS.API.STREAM.CREATE.KV_routing", "$JS.API.CONSUMER.CREATE.KV_instances.x.$KV.instances.>"},
	"gateway-svc":   {"$KV.nodes.gateway-svc.1", "$JS.API.CONSUMER.CREATE.KV_routing.x.$KV.routing.>", "$JS.API.CONSUMER.CREATE.events.x", "$JS.API.CONSUMER.MSG.NEXT.events.x", "replay.basket-svc", "$JS.API.STREAM.MSG.DELETE.dead"},
	"forwarder-svc": {"$KV.nodes.forwarder-svc.1", "dead.forwarder-svc", "$JS.ACK.events.forwarder-svc.1.1.1.1.1", "$JS.ACK.dead.forwarder-svc.1.1.1.1.1"},
	"basket-svc":    {"events.basket-svc", "$KV.nodes.basket-svc.1", "$KV.signers.basket-svc.x", "dead.basket-svc", "$JS.ACK.events.basket-svc.1.1.1.1.1", "$JS.ACK.dead.basket-svc.1.1.1.1.1"},
}

// mayWatch are what is another's own, and a service may do too.
var mayWatch = map[string][]string{
	"registry-svc": {"$JS.API.CONSUMER.CREATE.KV_instances.x.$KV.instances.>"},
	"proxy-svc":    {"$JS.API.CONSUMER.CREATE.KV_routing.x.$KV.routing.>"},
}

func TestEachLoginMayDoItsOwnAndNothingElse(t *testing.T) {
	s := startNATS(t, provision.Other("basket-svc"))
	for login := range own {
		t.Run(login, func(t *testing.T) {
			nc := s.connect(t, login)
			for _, subject := range own[login] {
				if err := publish(nc, subject); err != nil {
					t.Errorf("its own: %v", err)
				}
			}
			for _, subject := range []string{nc.NewInbox(), "mesh." + login + ".changed"} {
				if err := subscribe(nc, subject); err != nil {
					t.Errorf("its own: %v", err)
				}
			}
			others, inboxes := slices.Clone(denied.publish), slices.Clone(denied.subscribe)
			for other, subjects := range own {
				if other == login {
					continue
				}
				others = append(others, "_INBOX_"+other+".x")
				inboxes = append(inboxes, "_INBOX_"+other+".>", "_INBOX_"+other+".x")
				for _, subject := range subjects {
					if !slices.Contains(mayWatch[login], subject) {
						others = append(others, subject)
					}
				}
			}
			for _, subject := range others {
				if err := publish(nc, subject); !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("published to %s: %v", subject, err)
				}
			}
			for _, subject := range inboxes {
				if err := subscribe(nc, subject); !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("subscribed to %s: %v", subject, err)
				}
			}
		})
	}
}

func TestAdminMayDoEverything(t *testing.T) {
	s := startNATS(t)
	nc := s.connect(t, "admin")
	for _, subject := range append(denied.subscribe, denied.publish...) {
		if err := subscribe(nc, subject); err != nil {
			t.Error(err)
		}
	}
}

// publish tells what the server says of a message. It says so before it answers Flush's question.
func publish(nc *nats.Conn, subject string) error {
	return said(nc, "publish", subject, nc.Publish(subject, []byte("{}")))
}

func subscribe(nc *nats.Conn, subject string) error {
	sub, err := nc.SubscribeSync(subject)
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	return said(nc, "subscription", subject, err)
}

func said(nc *nats.Conn, verb, subject string, err error) error {
	if err := errors.Join(err, nc.Flush()); err != nil {
		return fmt.Errorf("%s to %s: %w", verb, subject, err)
	}
	if last := nc.LastError(); last != nil && strings.Contains(strings.ToLower(last.Error()), strings.ToLower(fmt.Sprintf("%s to %q", verb, subject))) {
		return last
	}
	return nil
}
