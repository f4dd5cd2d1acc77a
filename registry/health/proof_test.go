package health_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"micromesh/pkg/routing"
)

func proof(key, nonce string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte("mesh-proof " + nonce))
	return hex.EncodeToString(h.Sum(nil))
}

func TestProofs(t *testing.T) {
	var last string // the proof of the check before
	answers := map[string]func(nonce string) string{
		"right":            func(n string) string { return proof("key", n) },
		"among others":     func(n string) string { return "zz, " + proof("another", n) + " , " + proof("key", n) },
		"by another key":   func(n string) string { return proof("another", n) },
		"replayed":         func(n string) string { defer func() { last = proof("key", n) }(); return last },
		"none":             func(string) string { return "" },
		"the nonce":        func(n string) string { return n },
		"without its name": func(n string) string { return proof("key", "") },
		"behind too many":  func(n string) string { return strings.Repeat("00,", 1000) + proof("key", n) },
		"a part of it":     func(n string) string { return proof("key", n)[:32] },
		"in capitals":      func(n string) string { return strings.ToUpper(proof("key", n)) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var paths, nonces, from []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				nonce := r.Header.Get("Mesh-Nonce")
				paths, nonces, from = append(paths, r.URL.Path), append(nonces, nonce), append(from, r.RemoteAddr)
				w.Header().Set("Mesh-Proof", answer(nonce))
				if r.URL.Path == "/base/broken" {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}))
			t.Cleanup(srv.Close)
			c := newChecker(t)
			want := slices.Contains([]string{"right", "among others", "in capitals"}, name)
			for _, row := range []struct {
				path   string
				status routing.Status
			}{{"", routing.Healthy}, {"/healthz", routing.Healthy}, {"/broken", routing.Error}} {
				got := c.Prove(t.Context(), parse(t, srv.URL+"/base"), row.path, []byte("key"), []byte("other key"))
				if got.Status != row.status || !got.Answered || got.Refused || !slices.Equal(got.Proofs, []bool{want, false}) {
					t.Errorf("path %q: got %+v", row.path, got)
				}
			}
			if !slices.Equal(paths, []string{"/base/.well-known/mesh-proof", "/base/healthz", "/base/broken"}) {
				t.Errorf("the paths are %v", paths)
			}
			for _, all := range [][]string{nonces, from} { // no nonce comes twice, and no connection
				slices.Sort(all)
				if len(slices.Compact(all)) != 3 || len(nonces[0]) < 26 {
					t.Errorf("the nonces are %v, from %v", nonces, from)
				}
			}
		})
	}
}

func TestProofOfWhatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newChecker(t)
	u := parse(t, "http://"+l.Addr().String())
	if got := c.Prove(t.Context(), u, "", []byte("key")); got.Status != routing.Healthy || got.Answered || got.Refused {
		t.Errorf("without a path, got %+v of a port that accepts", got)
	}
	if got := c.Prove(t.Context(), u, "/healthz", []byte("key")); got.Status != routing.Unreachable || got.Answered || got.Refused {
		t.Errorf("got %+v of a port that accepts", got)
	}
	_ = l.Close()
	if got := c.Prove(t.Context(), u, "", []byte("key")); got.Status != routing.Unreachable || !got.Refused {
		t.Errorf("got %+v of a port that is closed", got)
	}
	if got := c.Check(t.Context(), u, ""); !got.Refused {
		t.Errorf("a plain check of it got %+v", got)
	}
	got := c.Prove(t.Context(), routing.URL{Scheme: "http", Host: "169.254.169.254", Port: 80}, "", []byte("key"))
	if got.Status != routing.Unreachable || !strings.Contains(got.Details, "nothing may be forwarded") {
		t.Errorf("got %+v of an address that is closed to all", got)
	}
}
