package http1_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"micromesh/gateway/http1"
)

// secure starts a TLS server of net/http, and gives it with the pool that trusts its certificate, which is for example.com.
func secure(t *testing.T, h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv, roots
}

func TestSecureUpstream(t *testing.T) {
	srv, roots := secure(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, r.Host+" "+string(body))
	})
	address := srv.Listener.Addr().String()
	for _, row := range []struct {
		name, serverName string
		roots            *x509.CertPool
		result           http1.Result
	}{
		{"trusted", "example.com", roots, http1.Answered},
		{"by address", "", roots, http1.Answered},
		{"unknown authority", "example.com", x509.NewCertPool(), http1.ConnectFailed},
		{"another name", "evil.example", roots, http1.ConnectFailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := proxyConfig{upstreams: http1.UpstreamsConfig{TLS: &tls.Config{RootCAs: row.roots}}}
			p := newProxy(t, http1.Target{Address: address, TLS: true, ServerName: row.serverName}, cfg)
			c := dial(t, p.addr)
			for i := range 3 {
				c.send(post)
				a := c.answer()
				o := p.outcome(t)
				if o.Result != row.result {
					t.Fatalf("outcome is %+v", o)
				}
				if row.result == http1.Answered && (a.body != "a abc" || o.Reused != (i > 0)) {
					t.Errorf("answer %d is %q, reused %t", i, a.body, o.Reused)
				}
			}
			if want := map[bool]int{true: 1}[row.result == http1.Answered]; p.upstreams.Idle() != want {
				t.Errorf("%d connections are kept", p.upstreams.Idle())
			}
		})
	}
}

func TestSecureServer(t *testing.T) {
	srv, roots := secure(t, func(http.ResponseWriter, *http.Request) {}) // for its certificate
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up, heads := answering(t, "HTTP/1.1 200 OK\r\n\r\nuntil close", true)
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	arrived := make(chan struct{}, 1)
	server := newServerOn(t, tls.NewListener(inner, srv.TLS), http1.Config{}, func(x *http1.Exchange) {
		if string(x.Path()) == "/wait" {
			arrived <- struct{}{}
			<-x.Context().Done()
			return
		}
		if !x.TLS() {
			t.Error("the exchange says that it isn't encrypted")
		}
		if o := upstreams.Forward(x, to(up), http1.ForwardOptions{}); o.Result != http1.Answered {
			t.Errorf("outcome is %+v", o)
		}
	})
	cfg := &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{"h2", "http/1.1"}}
	conn, err := tls.Dial("tcp", inner.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newPeer(t, conn)
	for range 2 {
		c.send(get)
		if a := c.answer(); a.body != "until close" {
			t.Errorf("answer is %q", a.body)
		}
		if head := wait(t, "request", heads); !strings.Contains(head, "X-Forwarded-Proto: https\r\n") {
			t.Errorf("request is %q", head)
		}
	}
	c.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
	wait(t, "request", arrived)
	_ = conn.Close()
	eventually(t, "the server notices", func() bool { return server.Stats().OpenConns == 0 })

	plain := dial(t, inner.Addr().String())
	plain.send(get)
	if raw, _ := plain.rest(); strings.Contains(raw, "200") {
		t.Errorf("a client without TLS got %q", raw)
	}
}
