package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"

	"micromesh/pkg/auth"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/natsconn"
	"micromesh/pkg/secret"
	"micromesh/registry/app"
)

// services own the instances.
const services = 10

func slug(i int) string { return fmt.Sprintf("svc-%d", i) }

// hello is what the registry's process says first: where it answers, and the tokens of those who call.
type hello struct {
	Address string
	Tokens  map[string]string
}

// usage is what the registry's process has used.
type usage struct {
	CPU time.Duration
	RSS int
}

// process is the registry's process.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	hello hello
}

func spawn(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-registry")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := p.read(&p.hello); err != nil {
		p.stop()
		return nil, fmt.Errorf("start registry: %w", err)
	}
	return p, nil
}

func (p *process) usage() (u usage, err error) {
	if _, err := fmt.Fprintln(p.in); err != nil {
		return u, err
	}
	return u, p.read(&u)
}

func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// stop ends the process: it does when its input does.
func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait() // it may have failed, which was reported where it mattered
}

// registry is that process.
func registry(ctx context.Context, say *json.Encoder) (err error) {
	dir, err := os.MkdirTemp("", "heartbeats-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	embedded, err := natsconn.StartEmbedded(filepath.Join(dir, "nats"), log)
	if err != nil {
		return err
	}
	defer embedded.Stop()
	nc, err := natsconn.Connect(ctx, natsconn.Config{URL: nats.DefaultURL, Logger: log, Extra: []nats.Option{embedded.Option()}})
	if err != nil {
		return err
	}
	defer nc.Close()
	box, err := secret.Open(filepath.Join(dir, "secret.key"))
	if err != nil {
		return err
	}
	h, err := host.New(ctx, host.Config{NATS: nc, Secrets: box, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	tokens, err := signIn(ctx, h)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, h, app.Config{DatabaseURL: "sqlite:" + filepath.Join(dir, "registry.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	return answer(ctx, say, h, tokens)
}

// answer tells where the registry is, and then its usage for each line that it is given.
func answer(ctx context.Context, say *json.Encoder, h *host.Host, tokens map[string]string) error {
	for h.Nodes.Lookup(app.Name) == nil {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := say.Encode(hello{h.Nodes.Lookup(app.Name).Nodes[0].Address, tokens}); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			return err
		}
		rss, err := residentSize()
		if err != nil {
			return err
		}
		if err := say.Encode(usage{time.Duration(r.Utime.Nano() + r.Stime.Nano()), rss}); err != nil {
			return err
		}
	}
	return lines.Err()
}

// residentSize reads the second field of /proc/self/statm.
func residentSize() (int, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, errors.New("read /proc/self/statm: it has no second field")
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}

// signIn does what the user service does elsewhere: it publishes a key, and makes tokens with it.
func signIn(ctx context.Context, h *host.Host) (map[string]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	entry, err := json.Marshal(auth.Key{ID: "k", PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), Current: true})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{kv.Permits, kv.Revocations, kv.Keys} {
		b, err := kv.Open(ctx, h.JS, name, kv.Options{})
		if err != nil {
			return nil, err
		}
		if name == kv.Keys {
			if _, err := b.Put(ctx, "k", entry); err != nil {
				return nil, err
			}
		}
	}
	tokens := map[string]string{}
	for i := range services {
		if tokens[slug(i)], err = token(key, slug(i), auth.RoleUser); err != nil {
			return nil, err
		}
	}
	tokens["admin"], err = token(key, "admin", auth.RoleAdmin)
	return tokens, errors.Join(err, h.Auth.WaitReady(ctx))
}

func token(key *rsa.PrivateKey, slug, role string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, &auth.Claims{
		UserID: "usr_" + slug, Slug: slug, Roles: []string{role}, AppID: "app", SessionID: "ses_" + slug,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: auth.Issuer, Audience: jwt.ClaimStrings{auth.Audience}, Subject: "usr_" + slug, ID: "tok_" + slug,
			IssuedAt: jwt.NewNumericDate(now.Add(-time.Second)), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
		},
	})
	t.Header["kid"] = "k"
	return t.SignedString(key)
}
