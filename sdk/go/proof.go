package sdk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"micromesh/pkg/errs"
)

// proofPath is the path, below their URL, at which the registry asks instances without a health path for a proof.
const proofPath = "/.well-known/mesh-proof"

// Prove serves a handler, and proves to the registry's health checks that the address is this service's. Run does it; servers
// that are registered with Register should serve their handler so.
func (s *Service) Prove(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := r.Header.Get("Mesh-Nonce")
		if nonce == "" || len(nonce) > 128 {
			handler.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Mesh-Proof", s.proofs(nonce))
		if strings.HasSuffix(r.URL.Path, proofPath) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// proofs returns a proof of a nonce by the key of each registered URL.
func (s *Service) proofs(nonce string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, key := range s.proofKeys {
		h := hmac.New(sha256.New, key)
		h.Write([]byte("mesh-proof " + nonce)) // a hash takes all
		all = append(all, hex.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(all, ",")
}

// learnKey takes up the key that a registration was answered with.
func (s *Service) learnKey(selfURL, proofKey string) {
	key, err := hex.DecodeString(proofKey)
	if err != nil || len(key) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proofKeys == nil {
		s.proofKeys = map[string][]byte{}
	}
	s.proofKeys[selfURL] = key
}

// invited returns the key by which the address of a URL that another account has may prove itself; empty where the
// registration was refused for another reason.
func invited(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind != errs.Conflict {
		return ""
	}
	for _, d := range e.Details {
		if d.Field == "proofKey" {
			return d.Message
		}
	}
	return ""
}
