// Package app wires the registry, so that `micro up`, its own process and tests run the same thing.
package app

import (
	"errors"
	"fmt"
	"net"
	"time"

	"micromesh/pkg/netpolicy"
)

// Config of the registry, from the environment. Durations that are 0 take their default.
type Config struct {
	DatabaseURL string `env:"MICRO_DATABASE_URL" required:"" secret:"" help:"postgres://user:password@host:port/database, or sqlite:<file>"`

	Lease         time.Duration `env:"MICRO_LEASE" envDefault:"30s" help:"how long an instance that beats is kept after its last registration"`
	CheckInterval time.Duration `env:"MICRO_CHECK_INTERVAL" envDefault:"5s" help:"between health checks of an instance"`
	CheckTimeout  time.Duration `env:"MICRO_CHECK_TIMEOUT" envDefault:"1s" help:"how long an instance may take to answer a check"`

	InstanceNetworks []string `env:"MICRO_INSTANCE_NETWORKS" help:"CIDRs that instances and services in plain go-micro may be in, with commas between; by default private networks: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 and fc00::/7"`

	Reserved []string `env:"MICRO_RESERVED_ADDRESSES" help:"HOST:PORTs that no instance may have, with commas between: databases and others of the mesh that this process doesn't know"`

	StockNATS string `env:"MICRO_STOCK_NATS" secret:"" help:"nats://… of the NATS server through which plain go-micro services find each other, to bring them in: whoever may publish there is trusted; tls:// verifies it by MICRO_TLS_CA; none where none is set"`

	NodeURL          string `env:"MICRO_NODE_URL" help:"URL of this machine; http:// and its name where none is set"`
	Region           string `env:"MICRO_NODE_REGION" help:"region of this machine"`
	AvailabilityZone string `env:"MICRO_NODE_ZONE" help:"availability zone of this machine"`
}

const (
	defaultLease         = 30 * time.Second
	defaultCheckInterval = 5 * time.Second
	defaultCheckTimeout  = time.Second
	maxInstances         = 1000 // of one slug
)

func (c *Config) complete() {
	orDefault(&c.Lease, defaultLease)
	orDefault(&c.CheckInterval, defaultCheckInterval)
	orDefault(&c.CheckTimeout, defaultCheckTimeout)
	if len(c.InstanceNetworks) == 0 {
		c.InstanceNetworks = netpolicy.Networks
	}
}

func orDefault(d *time.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = otherwise
	}
}

// Validate tells everything that is wrong at once. The database's URL is checked when it is opened.
func (c *Config) Validate() error {
	full := *c
	full.complete()
	var wrong []error
	positive := func(name string, d time.Duration, least time.Duration) {
		if d < least {
			wrong = append(wrong, fmt.Errorf("%s is %v; it must be at least %v", name, d, least))
		}
	}
	positive("MICRO_LEASE", full.Lease, time.Second)
	positive("MICRO_CHECK_INTERVAL", full.CheckInterval, 100*time.Millisecond)
	positive("MICRO_CHECK_TIMEOUT", full.CheckTimeout, 10*time.Millisecond)
	if _, err := netpolicy.ParseNetworks(c.InstanceNetworks); err != nil {
		wrong = append(wrong, err)
	}
	for _, a := range c.Reserved {
		if _, _, err := net.SplitHostPort(a); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_RESERVED_ADDRESSES holds %q; each must be host:port", a))
		}
	}
	return errors.Join(wrong...)
}
