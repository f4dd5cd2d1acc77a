package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// startGuests starts the NATS server of services in plain go-micro, as deploy/nats/guests.conf has it, or guests-open.conf.
func (c *Cluster) startGuests(address string, open bool) {
	c.tb.Helper()
	rest := "include \"secrets/nats-guests/users.conf\"\n"
	if open {
		rest = "allow_non_tls: true\ninclude \"secrets/nats-guests/open.conf\"\n"
	}
	conf := fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", c.secret("nats-guests", "cert.pem"), c.secret("nats-guests", "key.pem")) + rest
	file := filepath.Join(c.dir, "guests.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	c.Guests = c.process("nats", 1, map[string]string{"NATS_ADDRESS": address, "NATS_CONFIG": file})
	c.Guests.address = address
	c.Guests.Start()
}

// GuestEnv is the environment by which a service in plain go-micro joins.
func (c *Cluster) GuestEnv() map[string]string {
	c.tb.Helper()
	url, err := os.ReadFile(c.secret("guest", "nats.url"))
	if err != nil {
		c.tb.Fatal(err)
	}
	return map[string]string{
		"MICRO_REGISTRY": "nats", "MICRO_REGISTRY_ADDRESS": strings.TrimSpace(string(url)), "SSL_CERT_FILE": c.secret("guest", "ca.pem"),
		"MICRO_SERVER_ADDRESS": "127.0.0.1:0", "MICRO_BROKER_ADDRESS": "127.0.0.1:0",
	}
}
