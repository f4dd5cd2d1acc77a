// Package host is what a process gives the services that run in it: its connection to NATS, discovery, the replicated
// state of authorisation, logs and metrics. `micro up` shares one host among all services; a service that runs alone
// has one of its own. So a service's wiring is the same in both.
package host

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v5/client"
	"go-micro.dev/v5/registry"
	"google.golang.org/grpc/credentials"

	"micromesh/pkg/auth"
	"micromesh/pkg/discovery"
	"micromesh/pkg/events"
	"micromesh/pkg/kv"
	rpcclient "micromesh/pkg/rpc/client"
	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/seal"
	"micromesh/pkg/secret"
)

// Version of the mesh.
const Version = "0.1.0"

// Config of a host. NATS, Secrets and Logger must be set.
type Config struct {
	NATS    *nats.Conn   // owned by the caller
	Secrets *secret.Box  // seals what the services' databases hold
	Logger  *slog.Logger //
	// SecretKey describes the source of Secrets.
	SecretKey SecretKey
	// Address that RPC servers listen on, "host:port"; default 127.0.0.1:0, a port that the system picks.
	Address string
	// Advertise is where other processes reach the RPC server, "host:port"; default Address, or where that is every
	// address of this machine, a private one of it.
	Advertise string
	// Identity is what this process shows and trusts on RPC; nil speaks plain text.
	Identity *identity.Identity
	// Linger is how long an RPC server goes on serving after it has left discovery; default 0.
	Linger time.Duration
	// Replicas of streams and buckets, 1 to 5; default 1.
	Replicas int
	// TokenSession makes expired tokens acceptable for so long; 0 refuses them ("token auto refresh" off).
	TokenSession time.Duration
}

// SecretKey describes a secret key to operators.
type SecretKey struct {
	Name    string // the file or the variable that holds it
	Again   string // how to start with another key if it is lost; empty leaves that to the service
	Renewed bool   // values that another key has sealed are deleted
}

// Host is what services share. Its fields are safe for concurrent use and don't change.
type Host struct {
	ID       string // of the process
	NATS     *nats.Conn
	JS       jetstream.JetStream
	Registry registry.Registry
	Nodes    *discovery.Registry
	Client   client.Client
	RPC      *rpcclient.Client
	Auth     *auth.State
	Verifier *auth.Verifier
	Events   *events.Verifier
	Secrets  *secret.Box
	Logger   *slog.Logger
	Metrics  *prometheus.Registry

	cfg     Config
	servers natsServers
	seals   *seal.Reader // nil where processes have no certificates
	cancel  context.CancelFunc

	mu      sync.Mutex
	listens []string // see Listens
}

// New makes a host. Close it after the services that use it have stopped.
func New(ctx context.Context, cfg Config) (*Host, error) {
	cfg.Address = cmp.Or(cfg.Address, "127.0.0.1:0")
	cfg.Replicas = cmp.Or(cfg.Replicas, 1)
	plain, err := jetstream.New(cfg.NATS, jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	js, metrics := replicated{plain, cfg.Replicas}, newMetrics(cfg.NATS)
	h := &Host{
		ID: rand.Text()[:12], NATS: cfg.NATS, JS: js, Secrets: cfg.Secrets, Logger: cfg.Logger, Metrics: metrics,
		Events: events.NewVerifier(js, cfg.voucher(), cfg.Logger, metrics), cfg: cfg,
	}
	if seals := seal.NewReader(cfg.voucher(), cfg.Logger, metrics); cfg.Identity != nil {
		h.seals = seals
	}
	nodes, err := discovery.New(js, discovery.Config{Bucket: kv.Nodes}, discovery.WithLogger(cfg.Logger), discovery.WithSeal(h.Seal()), discovery.WithVoucher(cfg.voucher()))
	if err != nil {
		return nil, fmt.Errorf("open discovery: %w", err)
	}
	var rpcConfig rpcclient.Config
	if cfg.Identity != nil {
		rpcConfig.Credentials = cfg.Identity.Client()
	}
	rpc, err := rpcclient.New(nodes, rpcConfig)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open RPC client: %w", err), nodes.Close())
	}
	watch, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.Auth, h.cancel = auth.Watch(watch, js, cfg.Logger, kv.SealedBy(h.Seal())), cancel
	opts := []auth.VerifierOption{auth.WithLogger(cfg.Logger)}
	if cfg.TokenSession > 0 {
		opts = append(opts, auth.AcceptExpired(cfg.TokenSession))
	}
	h.Registry, h.Nodes, h.Client, h.RPC, h.Verifier = nodes, nodes, rpc, rpc, auth.NewVerifier(h.Auth, opts...)
	h.Listeners() // while NATS is there
	return h, nil
}

// voucher ties keys to certificates; nil where there are none.
func (c *Config) voucher() events.Voucher {
	if c.Identity == nil {
		return nil
	}
	return c.Identity
}

// SecretKey describes the key of Secrets.
func (h *Host) SecretKey() SecretKey {
	k := h.cfg.SecretKey
	k.Name = cmp.Or(k.Name, "the secret key")
	return k
}

// Signer signs the events of a service that runs in this process.
func (h *Host) Signer(slug string) *events.Signer {
	return events.NewSigner(slug, h.Secrets, h.cfg.voucher())
}

// Seal opens entries of buckets that their owners have sealed; nil where processes have no certificates, and seal nothing.
func (h *Host) Seal() kv.Seal {
	if h.seals == nil {
		return nil
	}
	return h.seals
}

// Keeper seals the entries of a service that runs in this process; nil where processes have no certificates.
func (h *Host) Keeper(slug string) *kv.Keeper {
	if h.seals == nil {
		return nil
	}
	return kv.NewKeeper(h.seals.Sealer(slug, h.Secrets))
}

// Listen opens the listener of a service's RPC server.
func (h *Host) Listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", h.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for RPC: %w", err)
	}
	return ln, nil
}

// Advertise is where others reach a listener that Listen gave.
func (h *Host) Advertise(ln net.Listener) string { return cmp.Or(h.cfg.Advertise, ln.Addr().String()) }

// Linger is how long an RPC server goes on serving after it has left discovery.
func (h *Host) Linger() time.Duration { return h.cfg.Linger }

// Credentials of an RPC server; nil speaks plain text.
func (h *Host) Credentials() credentials.TransportCredentials {
	if h.cfg.Identity == nil {
		return nil
	}
	return h.cfg.Identity.Server()
}

// Identity is what this process shows, and whom it trusts; nil where it speaks plain text.
func (h *Host) Identity() *identity.Identity { return h.cfg.Identity }

// Close ends what New began; the connection to NATS stays the caller's.
func (h *Host) Close() error {
	h.cancel()
	h.Auth.Wait()
	return errors.Join(h.RPC.Close(), h.Nodes.Close())
}

// OnLoopback reports whether an address, "host:port", can be reached from this machine alone.
func OnLoopback(address string) bool {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Loopback reports whether the services of this process can be called from this machine alone.
func (h *Host) Loopback() bool { return OnLoopback(h.cfg.Address) }
