package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/urfave/cli/v3"

	"micromesh/pkg/atomicfile"
)

// defaultServer is where `micro up` listens.
const defaultServer = "http://127.0.0.1:8080"

// settingsFile is the file of environments: meshes that this person works with, and the sign-in at each.
type settingsFile struct {
	Current      string                  `json:"current"`
	Environments map[string]*environment `json:"environments"`

	file string
}

// environment is one mesh.
type environment struct {
	URL          string `json:"url"`
	Slug         string `json:"slug,omitempty"`
	Token        string `json:"token,omitempty"`
	RefreshToken string `json:"refreshToken,omitempty"`
	ExpiresAt    string `json:"expiresAt,omitempty"`
}

func (c *commands) loadConfig() (*settingsFile, error) { return readSettings(c.Config) }

// readSettings reads the file of environments. One that isn't there holds the mesh of this machine.
func readSettings(file string) (*settingsFile, error) {
	cfg := &settingsFile{Current: "local", file: file}
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read sign-ins: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, cfg); err != nil {
			return nil, fmt.Errorf("read sign-ins: %s is not valid JSON (%w): mend or remove it", file, err)
		}
	}
	if cfg.Environments == nil {
		cfg.Environments = map[string]*environment{}
	}
	if len(cfg.Environments) == 0 {
		cfg.Environments["local"] = &environment{URL: defaultServer}
	}
	return cfg, nil
}

// locked reads the file anew and runs a function with it, one command at a time.
func (c *settingsFile) locked(f func(now *settingsFile) error) error {
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return fmt.Errorf("save sign-in: %w", err)
	}
	lock := flock.New(c.file + ".lock")
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("lock the file of sign-ins: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	now, err := readSettings(c.file)
	if err != nil {
		return err
	}
	return f(now)
}

// save replaces the file, readable for its owner alone.
func (c *settingsFile) save() error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(c.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save sign-in: %w", err)
	}
	if err := atomicfile.Replace(c.file, append(b, '\n')); err != nil {
		return fmt.Errorf("save sign-in: %w", err)
	}
	return nil
}

// pick gives the environment that a command works with. A --server that no environment has gets one of its own, so
// that its sign-in is never sent elsewhere.
func (c *settingsFile) pick(cmd *cli.Command) (string, *environment, error) {
	name := cmd.String("env")
	server := strings.TrimSuffix(cmd.String("server"), "/")
	if server != "" && name == "" {
		// Of several at one URL the current one counts, else the first by name.
		for _, n := range append([]string{c.Current}, sortedKeys(c.Environments)...) {
			if e := c.Environments[n]; e != nil && e.URL == server {
				return n, e, nil
			}
		}
		e := &environment{URL: server}
		c.Environments[server] = e
		return server, e, nil
	}
	if name == "" {
		name = c.Current
	}
	e := c.Environments[name]
	if e == nil {
		return "", nil, usagef("there is no environment %q: add it with `micro env set %s <url>`", name, name)
	}
	if server != "" && server != e.URL {
		return "", nil, usagef("--env %s is at %s, --server says %s: give one of them", name, e.URL, server)
	}
	return name, e, nil
}
