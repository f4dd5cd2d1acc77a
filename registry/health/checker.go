// Package health looks how instances are: whether their port accepts connections, or what the path of their health
// check answers.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

const (
	// slow is how long an answer may take that still counts as healthy.
	slow = 500 * time.Millisecond
	// body bounds what is read of an answer, so that the connection can be used again.
	body = 4 << 10
)

// Checker implements service.Checker. It connects to nothing that the network policy refuses, and follows no redirects: so no
// account can point it at an address that only this machine may see.
type Checker struct {
	timeout time.Duration
	dialer  net.Dialer
	client  *http.Client
	prover  *http.Client // opens a connection for each request
}

var _ service.Checker = (*Checker)(nil)

// New makes a checker with a timeout for each check. It dials by the rules for addresses that accounts name. Close it.
func New(timeout time.Duration, network *netpolicy.Policy) *Checker {
	c := &Checker{timeout: timeout, dialer: net.Dialer{ControlContext: network.Control(netpolicy.Account), KeepAlive: -1}}
	c.client = &http.Client{
		Transport: &http.Transport{
			DialContext: c.dialer.DialContext, MaxIdleConnsPerHost: 1, MaxIdleConns: 1024, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: timeout, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.prover = proverOf(c.client)
	return c
}

// Close closes the connections that wait for another check.
func (c *Checker) Close() { c.client.CloseIdleConnections() }

// Check implements service.Checker.
func (c *Checker) Check(ctx context.Context, u routing.URL, healthPath string) service.Health {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	started := time.Now()
	var err error
	if healthPath == "" {
		err = c.connect(ctx, u)
	} else {
		err = c.get(ctx, u, healthPath)
	}
	took := time.Since(started)
	if answer, ok := errors.AsType[answerError](err); ok {
		return service.Health{Status: routing.Error, Details: answer.Error()}
	}
	if err != nil {
		return service.Health{Status: routing.Unreachable, Details: explain(err, c.timeout), Refused: errors.Is(err, syscall.ECONNREFUSED)}
	}
	if took > slow {
		return service.Health{Status: routing.Degraded, Details: fmt.Sprintf("answered after %v", took.Round(10*time.Millisecond))}
	}
	return service.Health{Status: routing.Healthy}
}

// connect tells whether the port accepts connections.
func (c *Checker) connect(ctx context.Context, u routing.URL) error {
	conn, err := c.dialer.DialContext(ctx, "tcp", u.HostPort())
	if err != nil {
		return err
	}
	return conn.Close()
}

// get tells whether the health check answers that all is well.
func (c *Checker) get(ctx context.Context, u routing.URL, healthPath string) error {
	path, _, _ := strings.Cut(healthPath, "?") // a query was possible once
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "micromesh-health")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	// What the body says doesn't matter; read, it leaves the connection for the next check.
	_, _ = io.CopyN(io.Discard, resp.Body, body)
	_ = resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return answerError(resp.StatusCode)
	}
	return nil
}

// answerError is a status that says that the instance is not well.
type answerError int

func (e answerError) Error() string { return fmt.Sprintf("the health check answered %d", int(e)) }

// explain is an error in the owner's words, without addresses that a name leads to.
func explain(err error, timeout time.Duration) string {
	var dns *net.DNSError
	var refused netpolicy.RefusalError
	switch {
	case errors.As(err, &refused):
		return "its host " + refused.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %v", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.As(err, &dns):
		return "the host's name can't be resolved"
	}
	return "the connection failed"
}
