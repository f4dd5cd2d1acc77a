package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"micromesh/internal/devrun"
	"micromesh/internal/mesh"
	"micromesh/pkg/atomicfile"
	"micromesh/pkg/config"
	"micromesh/pkg/host"
	"micromesh/pkg/interrupt"
	"micromesh/pkg/nearest"
	"micromesh/pkg/telemetry"
)

func (c *commands) up() *cli.Command {
	return &cli.Command{
		Name: "up", Usage: "run the whole mesh in this process: user, registry, proxy and gateway, with all data in one folder",
		Description: settings,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` of all data; it is made where there is none", Value: "data", Sources: cli.EnvVars("MICRO_DATA")},
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT` of the gateway", Value: "127.0.0.1:8080", Sources: cli.EnvVars("MICRO_LISTEN")},
			&cli.StringFlag{Name: "nats", Usage: "`HOST:PORT` on loopback where services join over NATS, or off", Value: mesh.DefaultNATS, Sources: cli.EnvVars("MICRO_NATS_LISTEN")},
			&cli.BoolFlag{Name: "new-secret-key", Usage: "start with another secret key, since the one of the data folder is lost: everybody has to sign in again, certificates of hosts are gone"},
			&cli.StringFlag{Name: "log", Usage: "`LEVEL` of what is logged to standard error: debug, info, warn or error", Value: "warn", Sources: cli.EnvVars("MICRO_LOG")},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			cfg, err := c.upConfig(cmd)
			if err != nil {
				return err
			}
			return c.runMesh(ctx, cfg)
		},
	}
}

const settings = `Settings, from the environment:

   MICRO_ADMIN_SLUG          slug of the first admin (admin)
   MICRO_ADMIN_PASSWORD      its password; where none is set one is made up, and printed once
   MICRO_TOKEN_EXPIRATION    how long a token lives (5m)
   MICRO_TOKEN_AUTO_REFRESH  accept an expired token as long as its session lives (false)
   MICRO_SESSION_LIFE        how long a session lives without a refresh (720h)
   MICRO_KEY_ROTATION        how often the key that signs tokens is replaced (720h)
   MICRO_VERIFY_CONTACTS     a contact needs its one-time code at registration (false)
   MICRO_SMTP_ADDRESS        HOST:PORT of the mail server; without one, mail is written to files in the folder mail of --data
   MICRO_APPS_ON_DEMAND      an app (a tenant) that is named for the first time is created, by anyone (true)
   MICRO_MIN_PASSWORD        the least bytes of a password (8)
   MICRO_TEST                for test suites, on loopback alone: short passwords, one-time codes in answers (false)
   MICRO_CALLER_TOKEN        the token that instances receive of a caller: forward, identity or audience; SLUG=MODE for single slugs (forward)
   MICRO_EDGE_LISTEN         HOST:PORT for host routes alone (they are on --listen)
   MICRO_GUESTS_LISTEN       HOST:PORT where services written with plain go-micro call the mesh (any port of loopback)
   MICRO_EXPOSE_STOCK        POST /{service}/{Handler.Method} leads to services written with plain go-micro (true)
   MICRO_GUEST_HEADERS       header fields of clients that such services receive beside Accept-Language, Baggage, Idempotency-Key and Tracestate
   MICRO_LEASE               how long an instance that beats is kept without a heartbeat (30s)
   MICRO_INSTANCE_NETWORKS   CIDRs that instances may be in (private networks and loopback)
   MICRO_RESERVED_ADDRESSES  HOST:PORTs that no instance may have and nothing is forwarded to, such as databases
   MICRO_CORS_ORIGINS        origins whose pages may call the gateway, and read every answer
   MICRO_CORS_CREDENTIALS    whether pages of those origins may send cookies
   MICRO_TRUSTED_PROXIES     CIDRs of proxies in front, whose X-Forwarded-* are believed
   MICRO_ROUTES              routes.yaml of the gateway; it is read again when it changes (none)
   MICRO_ROUTES_SETTLE       how long routes.yaml must not have changed before an edit in place takes effect (5s)
   MICRO_FORWARD_TARGET      mixpanel or cloudevents: where events are sent, by MICRO_FORWARD_… as in forwarder --help (nowhere)

Other settings of user, registry, proxy and gateway (user --help and so on) hold here too: limits, timeouts, mail.
/healthz, /readyz and /metrics are served by the gateway: keep /metrics from strangers in the proxy in front.

SIGHUP makes the gateway read its routes.yaml immediately, also if it was edited in place a moment ago.
Ctrl-C lets requests under way finish and stops; a second one stops at once.`

// upConfig reads all settings, and tells all that are wrong at once.
func (c *commands) upConfig(cmd *cli.Command) (mesh.Config, error) {
	cfg := mesh.Config{Dir: cmd.String("data"), NewSecretKey: cmd.Bool("new-secret-key")}
	var level slog.Level
	errLevel := level.UnmarshalText([]byte(cmd.String("log")))
	if errLevel != nil {
		errLevel = fmt.Errorf("--log is %q; it must be debug, info, warn or error", cmd.String("log"))
	}
	environ := config.Environ()
	err := config.Parse(environ, &cfg.User, &cfg.Registry, &cfg.Proxy, &cfg.Gateway)
	if environ["MICRO_FORWARD_TARGET"] != "" {
		resolved, missing := config.Resolve(environ, config.Settings(&cfg.Forwarder))
		err = errors.Join(err, missing, config.Parse(resolved, &cfg.Forwarder))
	}
	cfg.Gateway.Listen = cmd.String("listen")
	if _, set := environ["MICRO_EXPOSE_STOCK"]; !set {
		cfg.Gateway.ExposeStock = true
	}
	if _, set := environ["MICRO_APPS_ON_DEMAND"]; !set {
		cfg.User.AppsOnDemand = true
	}
	if at := cmd.String("nats"); at != "off" {
		cfg.NATSListen, cfg.NATSOptional = at, !cmd.IsSet("nats")
	}
	cfg.Gateway.DataDir = ""
	c.misspelt(environ, cfg)
	if err := config.Join(errors.Join(errLevel, err), cfg.Validate()); err != nil {
		return cfg, usagef("%s", err)
	}
	cfg.Logger = slog.New(telemetry.Logs(slog.NewTextHandler(c.Stderr, &slog.HandlerOptions{Level: level})))
	return cfg, nil
}

// misspelt warns of variables that are no settings and look like one.
func (c *commands) misspelt(environ map[string]string, cfg mesh.Config) {
	known := append(config.Settings(&cfg.User, &cfg.Registry, &cfg.Proxy, &cfg.Gateway, &cfg.Forwarder),
		config.Setting{Env: "MICRO_DATA"}, config.Setting{Env: "MICRO_NATS_LISTEN"}, config.Setting{Env: "MICRO_LOG"})
	for _, name := range sortedKeys(environ) {
		if !strings.HasPrefix(name, "MICRO_") || slices.ContainsFunc(known, func(s config.Setting) bool { return s.Env == name }) {
			continue
		}
		for _, s := range known {
			if nearest.Distance(name, s.Env) <= 2 {
				fmt.Fprintf(c.Stderr, "warning: %s is no setting: did you mean %s?\n", name, s.Env)
			}
		}
	}
}

func (c *commands) runMesh(ctx context.Context, cfg mesh.Config) error {
	reload, end, stop := interrupt.Hangups()
	defer stop()
	m, err := mesh.Start(ctx, cfg)
	if err != nil {
		return explainStart(err, cfg)
	}
	base := "http://" + reachable(m.Addr())
	if err := atomicfile.Replace(filepath.Join(m.Dir(), devrun.GatewayFile), []byte(base+"\n")); err != nil {
		m.Stop()
		return fmt.Errorf("write %s: %w", devrun.GatewayFile, err)
	}
	c.greet(m, cfg, base)
	for {
		select {
		case <-reload:
			cfg.Logger.InfoContext(ctx, "reload_requested", "signal", "SIGHUP")
			m.Reload()
			continue
		case <-m.Done():
			return fmt.Errorf("a part of the mesh ended: %w", m.Err())
		case <-end:
		case <-ctx.Done():
		}
		fmt.Fprintln(c.Stderr, "stopping; once more to stop at once")
		m.Stop()
		return m.Err()
	}
}

// greet tells what runs and what to try. The last line says that everything answers: scripts wait for it.
func (c *commands) greet(m *mesh.Mesh, cfg mesh.Config, base string) {
	w := c.Stdout
	fmt.Fprintf(w, "Micromesh %s\n\n", host.Version)
	fmt.Fprintf(w, "  gateway  %s\n", base)
	if a := m.EdgeAddr(); a != nil {
		fmt.Fprintf(w, "  edge     http://%s\n", reachable(a))
	}
	fmt.Fprintf(w, "  nats     %s\n", joins(m))
	fmt.Fprintf(w, "  data     %s\n", m.Dir())
	slug := cfg.User.AdminSlug
	if p := m.AdminPassword(); p != "" {
		fmt.Fprintf(w, "  admin    %s, password %s   (made up now, and shown only this once)\n", slug, p)
	} else {
		fmt.Fprintf(w, "  admin    %s\n", slug)
	}
	server := ""
	if base != defaultServer {
		server = " --server " + base
	}
	fmt.Fprintf(w, "\nTry next, in another terminal:\n\n")
	fmt.Fprintf(w, "  micro%s login %s\n  micro%s instance ls\n  curl %s/openapi.json\n\n", server, slug, server, base)
	fmt.Fprintf(w, "ready %s\n", base)
}

// joins tells where services join over NATS.
func joins(m *mesh.Mesh) string {
	switch a := m.NATSAddr(); {
	case a != nil:
		return fmt.Sprintf("%s   (go-micro services: MICRO_REGISTRY=nats MICRO_REGISTRY_ADDRESS=%s; with a login: %s)", a, a, m.NATSFile())
	case m.NATSTaken():
		return mesh.DefaultNATS + " is in use by another program, so services can't join over NATS: choose another address with --nats"
	default:
		return "off"
	}
}

// reachable is an address as a client on this machine dials it.
func reachable(a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	if !ok || !t.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", t.Port)
}

// explainStart makes one line of why the mesh did not start, with what would be right.
func explainStart(err error, cfg mesh.Config) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && strings.HasPrefix(err.Error(), "listen for NATS"):
		return fmt.Errorf("%s is in use by another program: choose another address with --nats, or --nats off", cfg.NATSListen)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: choose another address with --listen%s", busyAddress(err, cfg), edgeHint(cfg))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is no address of this machine: choose another with --listen%s", busyAddress(err, cfg), edgeHint(cfg))
	case errors.Is(err, syscall.EACCES) && strings.Contains(err.Error(), "listen"):
		return fmt.Errorf("%s may not be listened on without privileges: choose a port above 1023 with --listen", busyAddress(err, cfg))
	}
	return err
}

func busyAddress(err error, cfg mesh.Config) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		return op.Addr.String()
	}
	return cfg.Gateway.Listen
}

func edgeHint(cfg mesh.Config) string {
	if cfg.Gateway.EdgeListen == "" {
		return ""
	}
	return " or MICRO_EDGE_LISTEN"
}
