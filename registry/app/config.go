// Package app wires the registry, so that `micro up`, its own process and tests run the same thing.
package app

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Config of the registry, from the environment. Durations that are 0 take their default.
type Config struct {
	// DatabaseURL is "sqlite:<file>" or "postgres://user:password@host:port/database".
	DatabaseURL string `env:"MICRO_DATABASE_URL"`
	// Lease is how long an instance that isn't well lives without a heartbeat; 30 s.
	Lease time.Duration `env:"MICRO_LEASE"`
	// CheckInterval is the time between health checks of an instance; 5 s.
	CheckInterval time.Duration `env:"MICRO_CHECK_INTERVAL"`
	// CheckTimeout is how long an instance may take to answer a check; 1 s.
	CheckTimeout time.Duration `env:"MICRO_CHECK_TIMEOUT"`
	// Reserved are addresses ("host:port") that no instance may have: the gateway's, the databases', others' of the mesh.
	Reserved []string `env:"MICRO_RESERVED_ADDRESSES"`
	// NodeURL is the URL of this machine, where it has one; http://<its name>.
	NodeURL string `env:"MICRO_NODE_URL"`
	// Region and AvailabilityZone of this machine.
	Region           string `env:"MICRO_NODE_REGION"`
	AvailabilityZone string `env:"MICRO_NODE_ZONE"`
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
	for _, a := range c.Reserved {
		if _, _, err := net.SplitHostPort(a); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_RESERVED_ADDRESSES holds %q; each must be host:port", a))
		}
	}
	return errors.Join(wrong...)
}
