package sdk_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/internal/meshtest"
)

// replaced is a transport on which the mesh's signing key is another one at first. The keys are then given out once all callers
// are about to ask.
type replaced struct {
	since   atomic.Bool   // the key was replaced
	callers chan struct{} // closed when all are there
	fetched atomic.Int64
}

func (k *replaced) RoundTrip(r *http.Request) (*http.Response, error) {
	rsp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.URL.Path != "/.well-known/jwks.json" {
		return rsp, err
	}
	if k.since.Load() {
		<-k.callers
		k.fetched.Add(1)
		return rsp, nil
	}
	b, err := io.ReadAll(rsp.Body)
	_ = rsp.Body.Close()
	b = bytes.ReplaceAll(b, []byte(`"kid":"`), []byte(`"kid":"0`))
	rsp.Body, rsp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return rsp, err
}

// TestThousandRequestsForAColdKey has them all come with a key that the service doesn't know yet: it is fetched once, for all.
func TestThousandRequestsForAColdKey(t *testing.T) {
	const n = 1000
	m := meshtest.Start(t)
	cfg := config(t, m, "hello-svc")
	keys := &replaced{callers: make(chan struct{})}
	cfg.Client = &http.Client{Transport: keys}
	svc := open(t, cfg)
	keys.since.Store(true)
	joe := m.Register(t, "joe")
	var there, refused atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+joe)
			if there.Add(1) == n {
				close(keys.callers)
			}
			if _, err := svc.Verify(r); err != nil {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() > 0 || keys.fetched.Load() != 1 {
		t.Errorf("%d of %d requests with a good token were refused; the keys were fetched %d times", refused.Load(), n, keys.fetched.Load())
	}
}
