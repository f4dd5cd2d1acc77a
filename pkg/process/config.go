package process

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/rpc/identity"
	"micromesh/pkg/secret"
)

// Config is what every process is told, beside what its service wants to know.
type Config struct {
	NATS         string `env:"MICRO_REGISTRY_ADDRESS" envDefault:"nats://127.0.0.1:4222" help:"URLs of the NATS servers, with commas between; tls:// verifies them by MICRO_TLS_CA"`
	NATSUser     string `env:"MICRO_NATS_USER" help:"login of this service on NATS"`
	NATSPassword string `env:"MICRO_NATS_PASSWORD" secret:"" help:"its password"`
	Replicas     int    `env:"MICRO_NATS_REPLICAS" envDefault:"1" help:"copies of each stream and bucket in a NATS cluster, 1 to 5"`

	Address   string        `env:"MICRO_SERVER_ADDRESS" envDefault:"127.0.0.1:0" help:"HOST:PORT that RPC listens on; port 0 is any"`
	Advertise string        `env:"MICRO_SERVER_ADVERTISE" help:"HOST:PORT under which other processes reach it, where that differs"`
	Linger    time.Duration `env:"MICRO_SERVER_LINGER" envDefault:"500ms" help:"how long RPC is still served after the process has left discovery, when it stops"`
	Health    string        `env:"MICRO_HEALTH_ADDRESS" help:"HOST:PORT of /healthz, /readyz and /metrics; off serves none"`

	Cert string `env:"MICRO_TLS_CERT" help:"file of this service's certificate, whose DNS name is its slug; RPC is in plain text where none is named"`
	Key  string `env:"MICRO_TLS_KEY" help:"file of its key"`
	CA   string `env:"MICRO_TLS_CA" help:"file of the authorities whose certificates are trusted"`

	SecretKey string `env:"MICRO_SECRET_KEY" required:"" secret:"" help:"32 bytes in base64 that seal what lies in databases, the same for all replicas: openssl rand -base64 32"`

	TokenAutoRefresh bool          `env:"MICRO_TOKEN_AUTO_REFRESH" help:"expired tokens are good while their session lives; the same in every process"`
	SessionLife      time.Duration `env:"MICRO_SESSION_LIFE" envDefault:"720h" help:"how long a session lives without a refresh"`

	LogLevel string `env:"MICRO_LOG" envDefault:"info" help:"what is logged to standard error: debug, info, warn or error"`
	keyFile  string // that SecretKey was read from; empty where it is a variable's

	LogFormat string `env:"MICRO_LOG_FORMAT" envDefault:"json" help:"json or text"`
}

// Validate tells everything that is wrong at once.
func (c *Config) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	for s := range strings.SplitSeq(c.NATS, ",") {
		if u, err := url.Parse(strings.TrimSpace(s)); err != nil || u.Host == "" || u.User != nil || (u.Scheme != "nats" && u.Scheme != "tls") {
			add("MICRO_REGISTRY_ADDRESS must hold URLs such as nats://127.0.0.1:4222, without a login")
			break
		}
	}
	if (c.NATSUser == "") != (c.NATSPassword == "") {
		add("MICRO_NATS_USER and MICRO_NATS_PASSWORD must be set both, or neither")
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		add("MICRO_NATS_REPLICAS is %d; it must be 1 to 5", c.Replicas)
	}
	for _, a := range []struct{ name, value string }{{"MICRO_SERVER_ADDRESS", c.Address}, {"MICRO_SERVER_ADVERTISE", c.Advertise}, {"MICRO_HEALTH_ADDRESS", c.healthAddress()}} {
		if _, _, err := net.SplitHostPort(a.value); err != nil && a.value != "" {
			add("%s is %q; it must be host:port", a.name, a.value)
		}
	}
	if n := len(strings.Fields(c.Cert + " " + c.Key + " " + c.CA)); n != 0 && n != 3 {
		add("MICRO_TLS_CERT, MICRO_TLS_KEY and MICRO_TLS_CA must be set all, or none")
	}
	if _, err := secret.Parse(c.SecretKey); c.SecretKey != "" && err != nil {
		add("%s: %w", c.keyName(), err)
	}
	if c.Linger < 0 || c.Linger > 30*time.Second {
		add("MICRO_SERVER_LINGER is %s; it must be 0s to 30s", c.Linger)
	}
	if c.SessionLife < time.Minute {
		add("MICRO_SESSION_LIFE is %s; it must be at least 1m", c.SessionLife)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		add("MICRO_LOG is %q; it must be debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != "json" && c.LogFormat != "text" {
		add("MICRO_LOG_FORMAT is %q; it must be json or text", c.LogFormat)
	}
	return errors.Join(wrong...)
}

// keyName names the source of the secret key.
func (c *Config) keyName() string {
	if c.keyFile != "" {
		return "MICRO_SECRET_KEY: the secret key in MICRO_SECRET_KEY_FILE " + c.keyFile
	}
	return "MICRO_SECRET_KEY"
}

// healthAddress is empty where nothing is served.
func (c *Config) healthAddress() string {
	if c.Health == "off" {
		return ""
	}
	return c.Health
}

// identity is what the process shows on RPC; nil where it speaks plain text.
func (c *Config) identity(slug string) (*identity.Identity, error) {
	if c.Cert == "" {
		return nil, nil //nolint:nilnil // plain text is no error
	}
	id, err := identity.Load(identity.Files{Cert: c.Cert, Key: c.Key, CA: c.CA})
	if err != nil {
		return nil, err
	}
	return id, id.Check(slug)
}

// natsOptions are the login, and how servers are verified.
func (c *Config) natsOptions(id *identity.Identity) []nats.Option {
	var opts []nats.Option
	if c.NATSUser != "" {
		// Answers go to subjects that nobody else may listen to.
		opts = append(opts, nats.UserInfo(c.NATSUser, c.NATSPassword), nats.CustomInboxPrefix("_INBOX_"+c.NATSUser))
	}
	if id != nil && strings.HasPrefix(c.NATS, "tls:") {
		opts = append(opts, nats.ClientTLSConfig(
			func() (tls.Certificate, error) { return id.TLS().Certificates[0], nil },
			func() (*x509.CertPool, error) { return id.TLS().RootCAs, nil },
		))
	}
	return opts
}

func (c *Config) tokenSession() time.Duration {
	if c.TokenAutoRefresh {
		return c.SessionLife
	}
	return 0
}
