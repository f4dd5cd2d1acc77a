package meshtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// MustProve fails unless each instance of a service proves its address by the key of its registration.
func (m *Mesh) MustProve(t testing.TB, slug string) {
	t.Helper()
	admin := m.Admin(t)
	all, _ := m.Do(t, "GET", "/registry-svc/instances?slug="+slug, admin, nil).Must(t, 200).Field("instances").([]any)
	if len(all) == 0 {
		t.Fatalf("%s has no instances", slug)
	}
	const nonce = "a nonce of the test"
	for _, in := range all {
		url, _ := in.(map[string]any)["url"].(string)
		var registered struct{ ProofKey string }
		body := `{"url":"` + url + `","slug":"` + slug + `"}`
		rsp := m.send(t, http.MethodPut, m.URL+"/registry-svc/instance", body, "Authorization", "Bearer "+admin, "Mesh-Api-Version", "2")
		err := json.NewDecoder(rsp.Body).Decode(&registered)
		_ = rsp.Body.Close()
		key, hexErr := hex.DecodeString(registered.ProofKey)
		if err != nil || hexErr != nil || len(key) == 0 {
			t.Fatalf("%s: the registration is answered with the key %q: %v", url, registered.ProofKey, err)
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte("mesh-proof " + nonce))
		rsp = m.send(t, http.MethodGet, url+"/.well-known/mesh-proof", "", "Mesh-Nonce", nonce)
		_ = rsp.Body.Close()
		if got := rsp.Header.Get("Mesh-Proof"); got != hex.EncodeToString(h.Sum(nil)) {
			t.Errorf("%s of %s answers %d with the proof %q", url, slug, rsp.StatusCode, got)
		}
	}
}

// send makes a request with header fields: names and values in turn.
func (m *Mesh) send(t testing.TB, method, url, body string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return rsp
}
