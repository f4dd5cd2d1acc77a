package health

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

const (
	// proofPath is the path, below their URL, at which instances without a health path prove themselves.
	proofPath = "/.well-known/mesh-proof"
	// proofs bounds how many proofs of an answer are looked at: programs with several URLs answer one for each.
	proofs = 16
)

// proverOf makes a client like another one, of which no two requests share a connection. A kept connection would reach the
// process that listened at an address before.
func proverOf(c *http.Client) *http.Client {
	t := c.Transport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if connected, ok := ctx.Value(connectedKey{}).(*atomic.Bool); ok && err == nil {
			connected.Store(true)
		}
		return conn, err
	}
	return &http.Client{Transport: t, CheckRedirect: c.CheckRedirect}
}

// connectedKey finds in a context where it is noted that a connection was opened.
type connectedKey struct{}

// Prove implements service.Checker. Without a health path an instance is well as soon as it accepts a connection.
func (c *Checker) Prove(ctx context.Context, u routing.URL, healthPath string, keys ...[]byte) service.Health {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = context.WithValue(ctx, connectedKey{}, &connected)
	started := time.Now()
	status, proved, err := c.prove(ctx, u, healthPath, keys)
	took := time.Since(started)
	out := service.Health{Status: routing.Healthy, Answered: err == nil, Proofs: proved, Refused: errors.Is(err, syscall.ECONNREFUSED)}
	switch {
	case err != nil && (healthPath != "" || !connected.Load()):
		out.Status, out.Details = routing.Unreachable, explain(err, c.timeout)
	case healthPath != "" && status >= http.StatusBadRequest:
		out.Status, out.Details = routing.Error, answerError(status).Error()
	case err == nil && took > slow:
		out.Status, out.Details = routing.Degraded, fmt.Sprintf("answered after %v", took.Round(10*time.Millisecond))
	}
	return out
}

// prove sends a nonce, and tells by which of the keys the answer is a proof.
func (c *Checker) prove(ctx context.Context, u routing.URL, path string, keys [][]byte) (status int, proved []bool, err error) {
	if path == "" {
		path = proofPath
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	nonce := rand.Text()
	req.Header.Set("User-Agent", "micromesh-health")
	req.Header.Set("Mesh-Nonce", nonce)
	resp, err := c.prover.Do(req)
	if err != nil {
		return 0, nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, body)
	_ = resp.Body.Close()
	given := strings.SplitN(resp.Header.Get("Mesh-Proof"), ",", proofs+1)
	proved = make([]bool, len(keys))
	for i, key := range keys {
		for _, p := range given[:min(len(given), proofs)] {
			proved[i] = proves(key, nonce, strings.TrimSpace(p)) || proved[i]
		}
	}
	return resp.StatusCode, proved, nil
}

// proves reports whether a proof is one of the nonce by the key.
func proves(key []byte, nonce, proof string) bool {
	got, err := hex.DecodeString(proof)
	h := hmac.New(sha256.New, key)
	h.Write([]byte("mesh-proof " + nonce)) // a hash takes all
	return err == nil && hmac.Equal(got, h.Sum(nil))
}
