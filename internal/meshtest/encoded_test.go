package meshtest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/meshtest"
)

// gzipped gives a text so and so often, as the members of one gzip file (RFC 1952, section 2.2).
func gzipped(t *testing.T, text []byte, times int) []byte {
	t.Helper()
	var member bytes.Buffer
	w := gzip.NewWriter(&member)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(member.Bytes(), times)
}

// allocated gives how many bytes the mesh and the test allocate while f runs.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestEncodedBodyOfACallIsRefusedUndecoded sends JSON, and a bomb that is less than a body may have: 1 MB that become 1 GB.
func TestEncodedBodyOfACallIsRefusedUndecoded(t *testing.T) {
	m := meshtest.Start(t)
	small, bomb := gzipped(t, []byte(`{"a":1}`), 1), gzipped(t, bytes.Repeat([]byte(" "), 10<<20), 100)
	for _, encoding := range []string{"gzip", "GZIP", "x-gzip", "gzip, gzip", "identity, gzip", "deflate", "br", "zstd", "unheard-of"} {
		for _, body := range [][]byte{small, bomb} {
			req, err := http.NewRequestWithContext(t.Context(), "POST", m.URL+"/registry-svc/echo", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Encoding", encoding)
			var a meshtest.Answer
			if used := allocated(func() { a = meshtest.Send(t, req) }); used > 32<<20 {
				t.Errorf("%s, %d bytes: %d bytes were allocated", encoding, len(body), used)
			}
			if a.Status != 415 || a.Text("code") != "UNSUPPORTED_MEDIA_TYPE" {
				t.Errorf("%s, %d bytes: %d %s", encoding, len(body), a.Status, a.Body)
			}
		}
	}
	m.Do(t, "POST", "/registry-svc/echo", "", `{"a":1}`).Must(t, 200)
}

// TestEncodedBodiesAreForwardedAsTheyAre sends a bomb, 10 MB that become 10 GB, to an instance that answers with it.
func TestEncodedBodiesAreForwardedAsTheyAre(t *testing.T) {
	s := newShop(t)
	bomb := gzipped(t, bytes.Repeat([]byte(" "), 10<<20), 1000)
	type arrival struct{ sum, encoding string }
	arrived := make(chan arrival, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			t.Error(err)
		}
		arrived <- arrival{hex.EncodeToString(sum.Sum(nil)), r.Header.Get("Content-Encoding")}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb)
	}))
	t.Cleanup(srv.Close)
	s.Register(t, "bomb-svc")
	s.Do(t, "PUT", "/registry-svc/instance", s.Admin(t), obj{"url": srv.URL, "slug": "bomb-svc"}).Must(t, 201)
	req := s.request(t, "POST", "/bomb-svc/", bytes.NewReader(bomb))
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Accept-Encoding", "gzip") // and so the client decodes nothing by itself
	var a meshtest.Answer
	if used := allocated(func() { a = meshtest.Send(t, req) }); used > 128<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
	sum := sha256.Sum256(bomb)
	if diff := cmp.Diff(arrival{hex.EncodeToString(sum[:]), "gzip"}, <-arrived, cmp.AllowUnexported(arrival{})); diff != "" {
		t.Errorf("what arrived differs (-want +got):\n%s", diff)
	}
	if !bytes.Equal(a.Body, bomb) || a.Status != 200 || a.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("what came back is another body: %d, %d bytes, encoding %q", a.Status, len(a.Body), a.Header.Get("Content-Encoding"))
	}
}
