// Package container is what the shop's programs do in a container beside their work: they read secrets from files, and tell whether they are
// well. Nothing of it is the mesh's.
package container

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// secrets are the variables that may be a file's content: that of the file that NAME_FILE names.
var secrets = []string{"DATABASE_URL", "MICRO_REGISTRY_ADDRESS"}

// Begin is the first that a program does. Started as `program healthcheck` it asks the service that runs, and ends.
func Begin(service string) {
	if err := readSecrets(); err != nil {
		log.Fatal(err)
	}
	if len(os.Args) != 2 || os.Args[1] != "healthcheck" {
		return
	}
	if err := ask(service, os.Getenv("MICRO_SERVER_ADDRESS")); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}

// Database is where the data is: DATABASE_URL, postgres://… or an SQLite file.
func Database(otherwise string) string {
	if d := os.Getenv("DATABASE_URL"); d != "" {
		return d
	}
	return otherwise
}

func readSecrets() error {
	for _, name := range secrets {
		file := os.Getenv(name + "_FILE")
		if file == "" {
			continue
		}
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s and %s_FILE are both set; one of them must be", name, name)
		}
		b, err := os.ReadFile(file) //nolint:gosec // whoever starts the program names the file
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
		if err := os.Setenv(name, strings.TrimSpace(string(b))); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// Health is a handler that tells whether a service can do its work.
type Health struct{ DB *sql.DB }

// Nothing is what is asked for and answered.
type Nothing struct{}

// Check asks the database.
func (h *Health) Check(ctx context.Context, _, _ *Nothing) error { return h.DB.PingContext(ctx) }

// ask calls Health.Check of the service that runs at an address, as any client of go-micro does.
func ask(service, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("MICRO_SERVER_ADDRESS is %q; it must be host:port", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+net.JoinHostPort(host, port)+"/", strings.NewReader("{}")) //nolint:gosec // it asks itself
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Micro-Service": service, "Micro-Endpoint": "Health.Check", "Micro-Id": "1"} {
		req.Header.Set(k, v)
	}
	rsp, err := http.DefaultClient.Do(req) //nolint:gosec // as above
	if err != nil {
		return fmt.Errorf("ask %s: %w", service, err)
	}
	defer rsp.Body.Close()
	if e := rsp.Header.Get("Micro-Error"); e != "" {
		return errors.New(e)
	}
	if rsp.StatusCode != http.StatusOK {
		return errors.New("it answers " + rsp.Status)
	}
	return nil
}
