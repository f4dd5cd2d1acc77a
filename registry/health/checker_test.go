package health_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
	"micromesh/registry/health"
	"micromesh/registry/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const timeout = time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newChecker(t *testing.T) *health.Checker {
	t.Helper()
	c := health.New(timeout, netpolicy.New(netpolicy.Config{Networks: loopback}))
	t.Cleanup(c.Close)
	return c
}

func parse(t *testing.T, raw string) routing.URL {
	t.Helper()
	u, err := service.ParseURL(raw)
	if err != nil {
		t.Fatalf("%s %v", raw, err)
	}
	return u
}

func TestHTTPCheck(t *testing.T) {
	var beyond atomic.Int32
	mux := http.NewServeMux()
	answer := func(path string, status int) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	answer("/ok", 200)
	answer("/none", 204)
	answer("/missing", 404)
	answer("/broken", 503)
	mux.HandleFunc("/base/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/beyond", http.StatusFound) })
	mux.HandleFunc("/beyond", func(http.ResponseWriter, *http.Request) { beyond.Add(1) })
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { time.Sleep(600 * time.Millisecond) })
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	c := newChecker(t)
	for path, want := range map[string]routing.Status{
		"/ok": routing.Healthy, "/none": routing.Healthy, "/away": routing.Healthy, "/endless": routing.Healthy,
		"/missing": routing.Error, "/broken": routing.Error, "/slow": routing.Degraded, "/silent": routing.Unreachable,
	} {
		t.Run(path, func(t *testing.T) {
			started := time.Now()
			got := c.Check(t.Context(), parse(t, srv.URL), path)
			if got.Status != want || (want == routing.Healthy) != (got.Details == "") {
				t.Errorf("got %+v, want %s", got, want)
			}
			if took := time.Since(started); took > 2*timeout {
				t.Errorf("it took %v", took)
			}
		})
	}
	if got := c.Check(t.Context(), parse(t, srv.URL+"/base"), "/ok?deep=1"); got.Status != routing.Healthy {
		t.Errorf("below a path, with a query from before: %+v", got)
	}
	if beyond.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestTCPCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := newChecker(t)
	u := parse(t, "http://"+l.Addr().String())
	if got := c.Check(t.Context(), u, ""); got.Status != routing.Healthy {
		t.Errorf("got %+v of a port that accepts", got)
	}
	_ = l.Close()
	if got := c.Check(t.Context(), u, ""); got.Status != routing.Unreachable || strings.Contains(got.Details, "127.0.0.1") {
		t.Errorf("got %+v of a port that is closed", got)
	}
	if got := c.Check(t.Context(), parse(t, "http://nobody.invalid"), ""); got.Status != routing.Unreachable {
		t.Errorf("got %+v of a name that isn't there", got)
	}
}

func TestAddressIsCheckedAfterTheNameWasResolved(t *testing.T) {
	c := newChecker(t)
	// What a name leads to, a URL with such a host stands for: it could not be registered.
	for host, why := range map[string]string{
		"169.254.169.254": "nothing may be forwarded to", "fd00:ec2::254": "nothing may be forwarded to", "fe80::1": "nothing may be forwarded to",
		"0.0.0.0": "not the address of one host", "224.0.0.1": "not the address of one host",
		"192.0.2.1": "MICRO_INSTANCE_NETWORKS", "10.1.2.3": "MICRO_INSTANCE_NETWORKS", // this checker's networks are loopback alone
	} {
		for _, path := range []string{"", "/healthz"} {
			got := c.Check(t.Context(), routing.URL{Scheme: "http", Host: host, Port: 80}, path)
			if got.Status != routing.Unreachable || !strings.Contains(got.Details, why) {
				t.Errorf("%s%s: got %+v", host, path, got)
			}
		}
	}
}
