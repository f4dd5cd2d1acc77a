// Package app wires the gateway, so that `micro up`, its own process and tests run the same thing.
package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"micromesh/gateway/handler"
	"micromesh/pkg/netpolicy"
)

// Config of the gateway, from the environment. Times are Go durations, sizes bytes.
type Config struct {
	Listen     string `env:"MICRO_LISTEN" envDefault:"127.0.0.1:8080" help:"HOST:PORT of the API and of slugs"`
	EdgeListen string `env:"MICRO_EDGE_LISTEN" help:"HOST:PORT for host routes alone; they are on MICRO_LISTEN where none is set"`
	DataDir    string `env:"MICRO_GATEWAY_DATA" help:"folder of what the gateway knows when it starts while everything else is down; none is kept where none is set"`

	Routes       string        `env:"MICRO_ROUTES" help:"routes.yaml: what leads where beside slugs and host routes, and who may ask; it is read again when it changes"`
	RoutesSettle time.Duration `env:"MICRO_ROUTES_SETTLE" envDefault:"5s" help:"how long routes.yaml must not have changed before an edit in place takes effect; a rename takes effect within a second, and SIGHUP immediately"`

	ExposeStock bool `env:"MICRO_EXPOSE_STOCK" envDefault:"false" help:"POST /{service}/{Handler.Method} leads to services written with plain go-micro that the registry has brought in"`

	GuestHeaders []string `env:"MICRO_GUEST_HEADERS" help:"header fields of clients that services in plain go-micro receive as metadata, with commas between, such as X-Tenant; always Accept-Language, Baggage, Idempotency-Key and Tracestate"`

	InstanceNetworks []string `env:"MICRO_INSTANCE_NETWORKS" help:"CIDRs that instances and services in plain go-micro may be in, with commas between; by default private networks: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 and fc00::/7"`
	Reserved         []string `env:"MICRO_RESERVED_ADDRESSES" help:"HOST:PORTs that nothing is forwarded to, with commas between: databases and others of the mesh that this process doesn't know"`

	GuestsListen    string `env:"MICRO_GUESTS_LISTEN" help:"HOST:PORT where services written with plain go-micro call those of the mesh by go-micro's own client, as anybody from outside may; nowhere where none is set"`
	StockNATS       string `env:"MICRO_STOCK_NATS" secret:"" help:"nats://… of the NATS server of services in plain go-micro, to call those on go-micro's NATS transport; tls:// verifies it by MICRO_TLS_CA; none where none is set"`
	GuestsAdvertise string `env:"MICRO_GUESTS_ADVERTISE" help:"HOST:PORT under which they reach it, where that differs"`

	MaxMessage      int64         `env:"MICRO_MAX_MESSAGE" envDefault:"4194304" help:"bytes of a body for RPC"`
	MaxBody         int64         `env:"MICRO_MAX_BODY" envDefault:"1073741824" help:"bytes of a body that is forwarded"`
	CallTimeout     time.Duration `env:"MICRO_CALL_TIMEOUT" envDefault:"10s" help:"for an RPC call"`
	HeadersTimeout  time.Duration `env:"MICRO_UPSTREAM_TIMEOUT" envDefault:"60s" help:"for an instance's answer to begin"`
	DrainTimeout    time.Duration `env:"MICRO_DRAIN_TIMEOUT" envDefault:"5s" help:"for requests under way when the gateway stops"`
	CORS            []string      `env:"MICRO_CORS_ORIGINS" help:"origins whose pages may call the gateway, and read every answer, with commas between"`
	CORSCredentials bool          `env:"MICRO_CORS_CREDENTIALS" help:"whether pages of those origins may send cookies"`
	CallerToken     string        `env:"MICRO_CALLER_TOKEN" envDefault:"forward" help:"the token that instances receive of a caller: forward, identity (none), or audience (one for that slug alone); SLUG=MODE for single slugs, with commas between"`
	TrustedProxies  []string      `env:"MICRO_TRUSTED_PROXIES" help:"CIDRs of proxies in front whose X-Forwarded-* are believed, with commas between"`
	TunnelCheck     time.Duration `env:"MICRO_TUNNEL_CHECK" envDefault:"15s" help:"between two looks whether the token that opened a WebSocket is still good"`
}

// Validate tells everything that is wrong at once.
func (c *Config) Validate() error {
	var wrong []error
	for name, v := range map[string]string{"MICRO_LISTEN": c.Listen, "MICRO_EDGE_LISTEN": c.EdgeListen, "MICRO_GUESTS_LISTEN": c.GuestsListen, "MICRO_GUESTS_ADVERTISE": c.GuestsAdvertise} {
		if v == "" && name != "MICRO_LISTEN" {
			continue
		}
		if _, _, err := net.SplitHostPort(v); err != nil {
			wrong = append(wrong, fmt.Errorf("%s is %q; it must be host:port, such as 127.0.0.1:8080", name, v))
		}
	}
	if c.EdgeListen != "" && c.EdgeListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		wrong = append(wrong, errors.New("MICRO_EDGE_LISTEN must differ from MICRO_LISTEN"))
	}
	if c.GuestsAdvertise != "" && c.GuestsListen == "" {
		wrong = append(wrong, errors.New("MICRO_GUESTS_ADVERTISE is set; MICRO_GUESTS_LISTEN must be too"))
	}
	for name, v := range map[string]int64{"MICRO_MAX_MESSAGE": c.MaxMessage, "MICRO_MAX_BODY": c.MaxBody} {
		if v < 1024 {
			wrong = append(wrong, fmt.Errorf("%s is %d; it must be at least 1024 bytes", name, v))
		}
	}
	for name, v := range map[string]time.Duration{"MICRO_CALL_TIMEOUT": c.CallTimeout, "MICRO_TUNNEL_CHECK": c.TunnelCheck, "MICRO_UPSTREAM_TIMEOUT": c.HeadersTimeout} {
		if v < 100*time.Millisecond {
			wrong = append(wrong, fmt.Errorf("%s is %s; it must be at least 100ms", name, v))
		}
	}
	if c.RoutesSettle < 0 {
		wrong = append(wrong, fmt.Errorf("MICRO_ROUTES_SETTLE is %s; it must be 0 or more, such as 5s", c.RoutesSettle))
	}
	for _, o := range c.CORS {
		if err := handler.CheckOrigin(o); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_CORS_ORIGINS holds %q, which %w", o, err))
		}
	}
	if _, err := handler.ParseCallerTokens(c.CallerToken); err != nil {
		wrong = append(wrong, fmt.Errorf("MICRO_CALLER_TOKEN holds %w", err))
	}
	if _, err := c.proxies(); err != nil {
		wrong = append(wrong, err)
	}
	if _, err := netpolicy.ParseNetworks(c.InstanceNetworks); err != nil {
		wrong = append(wrong, err)
	}
	for _, h := range c.GuestHeaders {
		if err := handler.CheckGuestHeader(h); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_GUEST_HEADERS holds %w", err))
		}
	}
	for _, a := range c.Reserved {
		if _, _, err := net.SplitHostPort(a); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_RESERVED_ADDRESSES holds %q; each must be host:port", a))
		}
	}
	if c.DataDir != "" {
		if fi, err := os.Stat(c.DataDir); err != nil || !fi.IsDir() {
			wrong = append(wrong, fmt.Errorf("MICRO_GATEWAY_DATA is %q; it must be a folder that exists", c.DataDir))
		}
	}
	return errors.Join(wrong...)
}
