package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"micromesh/internal/provision"
	"micromesh/pkg/atomicfile"
	"micromesh/pkg/natsconn/embedded"
)

const (
	// DefaultNATS is where NATS listens for services where nothing else is asked for: where clients of NATS look for it.
	DefaultNATS = "127.0.0.1:4222"
	// serviceLogin is the login that services share.
	serviceLogin = "service"
	natsURL      = "nats.url"
	guestsFile   = "guests.address" // where guests call the mesh
)

// validateNATS tells what is wrong with the address of NATS.
func (c *Config) validateNATS() error {
	if c.NATSListen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.NATSListen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("MICRO_NATS_LISTEN is %q; it must be HOST:PORT on loopback, such as %s, or off: whoever reaches it needs no password", c.NATSListen, DefaultNATS)
	}
	return nil
}

// openNATS starts the server. Where its address is taken and may be, it starts without.
func (m *Mesh) openNATS(ctx context.Context) error {
	dir := filepath.Join(m.cfg.Dir, "nats")
	file := filepath.Join(m.cfg.Dir, natsURL)
	var err error
	if m.cfg.NATSListen == "" {
		m.nats, err = embedded.Start(dir, m.cfg.Logger)
		return err
	}
	password, err := natsPassword(file)
	if err != nil {
		return err
	}
	m.nats, err = embedded.Start(dir, m.cfg.Logger, embedded.WithListener(ctx, m.cfg.NATSListen), embedded.WithLogin(sharedLogin(password)))
	if errors.Is(err, syscall.EADDRINUSE) && m.cfg.NATSOptional {
		m.natsTaken = true
		m.nats, err = embedded.Start(dir, m.cfg.Logger)
		return err
	}
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "nats", User: url.UserPassword(serviceLogin, password), Host: m.nats.Addr().String()}
	if err := atomicfile.Replace(file, []byte(u.String()+"\n")); err != nil {
		return fmt.Errorf("write %s: %w", natsURL, err)
	}
	if m.cfg.Registry.StockNATS == "" { // guests are those whom the registry bridges
		m.cfg.Registry.StockNATS = "nats://" + m.nats.Addr().String()
	}
	if m.cfg.Gateway.StockNATS == "" {
		m.cfg.Gateway.StockNATS = m.cfg.Registry.StockNATS
	}
	if m.cfg.Gateway.GuestsListen == "" {
		m.cfg.Gateway.GuestsListen = m.guestsAddress(ctx)
		m.keepGuests = true
	}
	return nil
}

// guestsAddress returns the address where guests called the mesh when it ran last, if that is free: go-micro's client remembers it for a
// minute.
func (m *Mesh) guestsAddress(ctx context.Context) string {
	const anyPort = "127.0.0.1:0"
	b, err := os.ReadFile(m.guestsFile())
	if err != nil {
		return anyPort
	}
	address := string(trimLine(b))
	if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" {
		return anyPort
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return anyPort
	}
	_ = ln.Close()
	return address
}

// rememberGuests writes the address where guests call the mesh.
func (m *Mesh) rememberGuests() error {
	if !m.keepGuests {
		return nil
	}
	if err := atomicfile.Replace(m.guestsFile(), []byte(m.gate.GuestsAddr().String()+"\n")); err != nil {
		return fmt.Errorf("write %s: %w", guestsFile, err)
	}
	return nil
}

func (m *Mesh) guestsFile() string { return filepath.Join(m.cfg.Dir, guestsFile) }

// natsPassword gives the password of services: that of the last start, or a new one.
func natsPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return rand.Text(), nil
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", natsURL, err)
	}
	u, err := url.Parse(string(trimLine(b)))
	if err != nil || u.User == nil {
		return rand.Text(), nil //nolint:nilerr // it is written anew
	}
	if p, ok := u.User.Password(); ok && p != "" {
		return p, nil
	}
	return rand.Text(), nil
}

func trimLine(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}

func sharedLogin(password string) embedded.Login {
	allowed, denied := provision.Shared(serviceLogin)
	return embedded.Login{
		Name: serviceLogin, Password: password, Publish: allowed.Publish, Subscribe: allowed.Subscribe,
		DenyPublish: denied.Publish, DenySubscribing: denied.Subscribe,
	}
}

// NATSAddr is where services join over NATS; nil where none can, because it is off, or because NATSTaken.
func (m *Mesh) NATSAddr() net.Addr { return m.nats.Addr() }

// NATSTaken tells whether another program has the address that NATS would have listened on.
func (m *Mesh) NATSTaken() bool { return m.natsTaken }

// NATSFile holds the URL by which services log in.
func (m *Mesh) NATSFile() string { return filepath.Join(m.cfg.Dir, natsURL) }
