// Package mesh is the whole mesh in one process: user, registry, proxy and gateway on an embedded NATS server and
// SQLite, with all data in one folder. `micro up` runs it, and so do tests.
package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	forwarder "micromesh/forwarder/app"
	gateway "micromesh/gateway/app"
	"micromesh/pkg/config"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/netpolicy"
	proxy "micromesh/proxy/app"
	registry "micromesh/registry/app"
	user "micromesh/user/app"
)

// Config of a mesh. Databases and folders of the services are set by Start.
type Config struct {
	Dir       string // of all data; it is created
	Logger    *slog.Logger
	User      user.Config
	Registry  registry.Config
	Proxy     proxy.Config
	Gateway   gateway.Config
	Forwarder forwarder.Config // where it names a target

	NewSecretKey bool // start with another secret key, if the one of before is lost: values that it sealed are deleted

	NATSListen   string // "host:port" on loopback where services join over NATS; empty is nowhere
	NATSOptional bool   // where that is taken by another program the mesh starts without it
}

// Validate tells everything that is wrong with the settings at once.
func (c *Config) Validate() error {
	return errors.Join(config.Validate(&c.User, &c.Registry, &c.Proxy, &c.Gateway), c.validateForwarder(), c.validateNATS(), c.validateTest())
}

// validateTest refuses test mode where anybody outside of this machine can reach the mesh.
func (c *Config) validateTest() error {
	if !c.User.Test {
		return nil
	}
	var wrong []error
	for name, address := range map[string]string{
		"MICRO_LISTEN": c.Gateway.Listen, "MICRO_EDGE_LISTEN": c.Gateway.EdgeListen, "MICRO_GUESTS_LISTEN": c.Gateway.GuestsListen,
	} {
		if address != "" && !host.OnLoopback(address) {
			wrong = append(wrong, fmt.Errorf("%s is %q, and MICRO_TEST is set; in test mode it must be on loopback, such as 127.0.0.1:8080", name, address))
		}
	}
	return errors.Join(wrong...)
}

func (c *Config) validateForwarder() error {
	if c.Forwarder.Target == "" {
		return nil
	}
	return c.Forwarder.Validate()
}

// Mesh is a mesh that runs.
type Mesh struct {
	cfg   Config
	lock  *os.File
	nats  *embedded.Server
	conn  *nats.Conn
	Host  *host.Host
	user  *user.App
	reg   *registry.App
	proxy *proxy.App
	gate  *gateway.App
	fwd   *forwarder.App // nil where events are sent nowhere

	natsTaken  bool
	keepGuests bool // the address where guests call the mesh
	used       bool // the folder had databases before

	stopGate context.CancelFunc
	stopRest context.CancelFunc
	gateDone chan struct{} // the gateway has drained
	done     chan struct{} // everything has ended
	err      error         // why, once done is closed
}

// Start starts a mesh; it answers when everything does. Stop ends it.
func Start(ctx context.Context, cfg Config) (*Mesh, error) {
	m := &Mesh{cfg: cfg, gateDone: make(chan struct{}), done: make(chan struct{})}
	if err := m.open(ctx); err != nil {
		m.close()
		return nil, err
	}
	m.run(context.WithoutCancel(ctx))
	if err := m.waitReady(ctx); err != nil {
		m.Stop()
		return nil, errors.Join(err, m.err)
	}
	return m, nil
}

// Addr is where the gateway listens.
func (m *Mesh) Addr() net.Addr { return m.gate.Addr() }

// EdgeAddr is where host routes are served, or nil where they have no address of their own.
func (m *Mesh) EdgeAddr() net.Addr { return m.gate.EdgeAddr() }

// Dir is the folder of all data, as an absolute path.
func (m *Mesh) Dir() string { return m.cfg.Dir }

// AdminPassword is the password that was made up for the first admin; empty where none was.
func (m *Mesh) AdminPassword() string { return m.user.AdminPassword() }

// Done is closed when the mesh has ended, by Stop or because a part of it failed: Err tells.
func (m *Mesh) Done() <-chan struct{} { return m.done }

// Err is why the mesh has ended; nil after Stop. It waits until it has.
func (m *Mesh) Err() error {
	<-m.done
	return m.err
}

// Reload makes the gateway read its routes.yaml now. It returns before that is done.
func (m *Mesh) Reload() { m.gate.Reload() }

// Stop ends the mesh: the gateway first, which lets requests under way finish, then what they need.
func (m *Mesh) Stop() {
	m.stopGate()
	<-m.done
}

func (m *Mesh) open(ctx context.Context) error {
	if err := m.cfg.validateTest(); err != nil {
		return err
	}
	if err := m.openDir(); err != nil {
		return err
	}
	box, key, err := m.openSecretKey()
	if err != nil {
		return err
	}
	if err := m.openNATS(ctx); err != nil {
		return err
	}
	m.conn, err = natsconn.Connect(ctx, natsconn.Config{URL: nats.DefaultURL, Name: "micromesh", Logger: m.cfg.Logger, Extra: []nats.Option{m.nats.Option()}})
	if err != nil {
		return err
	}
	if err := forgetNodes(ctx, m.conn); err != nil {
		return err
	}
	m.Host, err = host.New(ctx, host.Config{NATS: m.conn, Secrets: box, SecretKey: key, Logger: m.cfg.Logger, TokenSession: m.cfg.User.AcceptExpired()})
	if err != nil {
		return err
	}
	return m.openServices(ctx)
}

// forgetNodes drops the RPC nodes that a process before this one registered on the same folder. All of them are gone with
// it; after a kill they would stay until their lease ends, and another program may have their ports by now.
func forgetNodes(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	if err := js.DeleteKeyValue(ctx, kv.Nodes); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
		return fmt.Errorf("forget old nodes: %w", err)
	}
	return nil
}

// openServices opens all four, at the first start together: making keys and hashes takes its time.
func (m *Mesh) openServices(ctx context.Context) error {
	c := &m.cfg
	sqlite := func(name string) string { return "sqlite:" + m.database(name) }
	c.User.DatabaseURL, c.Registry.DatabaseURL, c.Proxy.DatabaseURL = sqlite("user"), sqlite("registry"), sqlite("proxy")
	c.User.MailDir = filepath.Join(c.Dir, "mail")
	c.Gateway.DataDir = filepath.Join(c.Dir, "gateway")
	if err := os.MkdirAll(c.Gateway.DataDir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if a := m.nats.Addr(); a != nil {
		m.Host.Listens(a)
	}
	networks := slices.Concat(netpolicy.Networks, netpolicy.Loopback)
	for _, configured := range []*[]string{&c.Gateway.InstanceNetworks, &c.Registry.InstanceNetworks} {
		if len(*configured) == 0 {
			*configured = networks
		}
	}
	var err error
	if m.gate, err = gateway.New(ctx, m.Host, c.Gateway); err != nil {
		return err
	}
	if err := m.rememberGuests(); err != nil {
		return err
	}
	if c.Forwarder.Target != "" {
		if m.fwd, err = forwarder.New(m.Host, c.Forwarder); err != nil {
			return err
		}
	}
	openUser := func() (err error) { m.user, err = user.New(ctx, m.Host, c.User); return err }
	var g errgroup.Group
	if m.used {
		// It can tell a wrong secret key, by the keys that it has sealed, before the others take that key for theirs.
		if err := openUser(); err != nil {
			return err
		}
	} else {
		g.Go(openUser)
	}
	g.Go(func() (err error) { m.reg, err = registry.New(ctx, m.Host, c.Registry); return err })
	g.Go(func() (err error) { m.proxy, err = proxy.New(ctx, m.Host, c.Proxy); return err })
	return g.Wait()
}

// run starts the parts. When one of them fails the others are stopped.
func (m *Mesh) run(ctx context.Context) {
	gateCtx, stopGate := context.WithCancel(ctx)
	restCtx, stopRest := context.WithCancel(ctx)
	m.stopGate, m.stopRest = stopGate, stopRest
	rest, restCtx := errgroup.WithContext(restCtx)
	rest.Go(func() error { return m.user.Run(restCtx) })
	rest.Go(func() error { return m.reg.Run(restCtx) })
	rest.Go(func() error { return m.proxy.Run(restCtx) })
	if m.fwd != nil {
		rest.Go(func() error { return m.fwd.Run(restCtx) })
	}
	context.AfterFunc(restCtx, stopGate)
	go func() {
		err := m.gate.Run(gateCtx)
		close(m.gateDone)
		stopRest()
		m.err = errors.Join(err, rest.Wait())
		m.close()
		close(m.done)
	}()
}

// close gives up, in the reverse order, what open opened.
func (m *Mesh) close() {
	closeOf := func(name string, f func() error) {
		if err := f(); err != nil {
			m.cfg.Logger.Error("close_failed", "part", name, "error", err)
		}
	}
	if m.gate != nil {
		closeOf("gateway", m.gate.Close)
	}
	if m.fwd != nil {
		closeOf("forwarder", m.fwd.Close)
	}
	if m.proxy != nil {
		closeOf("proxy", m.proxy.Close)
	}
	if m.reg != nil {
		closeOf("registry", m.reg.Close)
	}
	if m.user != nil {
		closeOf("user", m.user.Close)
	}
	if m.Host != nil {
		closeOf("host", m.Host.Close)
	}
	if m.conn != nil {
		m.conn.Close()
	}
	if m.nats != nil {
		m.nats.Stop()
	}
	if m.lock != nil {
		closeOf("lock", m.lock.Close)
	}
}

// waitReady waits until each service answers a call and the gateway can lead requests.
func (m *Mesh) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		why := m.unready(ctx)
		if why == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-m.done:
			return errors.New("a part of the mesh ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("the mesh was not ready in time: %w", why)
		}
	}
}
