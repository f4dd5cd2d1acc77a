package http1_test

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"micromesh/gateway/http1"
)

// numbering is an upstream that reads no bodies: what follows a head is the next request. It answers with the number of the
// connection and the request's target.
func numbering(t *testing.T) (*upstream, <-chan string) {
	t.Helper()
	heads := make(chan string, 100)
	var u *upstream
	u = newUpstream(t, func(p *peer) {
		n := strconv.FormatInt(u.conns.Load(), 10)
		for {
			head, err := p.head()
			if err != nil {
				return
			}
			heads <- head
			_, target, _ := strings.Cut(head, " ")
			target, _, _ = strings.Cut(target, " ")
			body := n + " " + target
			if _, err := io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
				return
			}
		}
	})
	return u, heads
}

// asking is one request of a test: on which of the clients' connections, by whom, and with what.
type asking struct {
	client int
	caller string // signed in; empty is anonymous
	raw    string
	conn   int // the upstream's connection that must carry it
}

// bodied is a request with an innocent body: an upstream that doesn't read it waits for the rest of another request.
func bodied(method string) string {
	return method + " /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"
}

// TestConnectionsWithBodiesAreTheirCallers checks that a connection which has carried a body serves the same caller alone.
func TestConnectionsWithBodiesAreTheirCallers(t *testing.T) {
	long := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000)
	chunks := "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	proxied := "X-Forwarded-For: 192.0.2.1\r\n"
	for name, row := range map[string]struct {
		asked   []asking
		trusted bool
	}{
		"anonymous, the same connection":       {asked: []asking{{0, "", post, 1}, {0, "", post, 1}, {0, "", get, 1}, {0, "", post, 1}}},
		"anonymous, another connection":        {asked: []asking{{0, "", post, 1}, {1, "", get, 2}, {0, "", get, 2}}},
		"anonymous, two with bodies":           {asked: []asking{{0, "", post, 1}, {1, "", post, 2}, {0, "", post, 1}, {1, "", post, 2}}},
		"a GET with a body":                    {asked: []asking{{0, "", bodied("GET"), 1}, {1, "", get, 2}}},
		"a DELETE with a body":                 {asked: []asking{{0, "", strings.Replace(post, "POST", "DELETE", 1), 1}, {1, "", get, 2}}},
		"a chunked body":                       {asked: []asking{{0, "", chunks + "3\r\nabc\r\n0\r\n\r\n", 1}, {1, "", get, 2}}},
		"an empty chunked body":                {asked: []asking{{0, "", chunks + "0\r\n\r\n", 1}, {1, "", get, 2}}},
		"a long body":                          {asked: []asking{{0, "", long, 1}, {1, "", get, 2}}},
		"an empty body":                        {asked: []asking{{0, "", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1}, {1, "", get, 1}}},
		"owned until closed":                   {asked: []asking{{0, "", post, 1}, {0, "", get, 1}, {0, "", get, 1}, {1, "", get, 2}}},
		"signed in, another connection":        {asked: []asking{{0, "ann", post, 1}, {1, "ann", post, 1}, {2, "ann", get, 1}}},
		"signed in, another caller":            {asked: []asking{{0, "ann", post, 1}, {1, "bob", post, 2}, {1, "ann", post, 1}, {0, "bob", get, 2}}},
		"signed in, then anonymous":            {asked: []asking{{0, "ann", post, 1}, {0, "", get, 2}, {0, "", post, 2}}},
		"anonymous, then signed in":            {asked: []asking{{0, "", post, 1}, {0, "ann", get, 2}, {0, "ann", post, 2}}},
		"clean ones come first":                {asked: []asking{{0, "", get, 1}, {0, "", post, 1}, {1, "", get, 2}, {0, "", get, 2}, {0, "", post, 1}}},
		"a proxy's connection":                 {asked: []asking{{0, "", strings.Replace(post, "Host", proxied+"Host", 1), 1}, {0, "", post, 2}, {0, "", get, 2}}},
		"a proxy's connection that has no one": {asked: []asking{{0, "", post, 1}, {0, "", strings.Replace(get, "Host", "Via: 1.1 x\r\nHost", 1), 2}}},
		"a trusted proxy's connection":         {asked: []asking{{0, "", post, 1}, {0, "", post, 2}, {0, "", get, 3}}, trusted: true},
		"signed in behind a trusted proxy":     {asked: []asking{{0, "ann", post, 1}, {0, "bob", post, 2}, {0, "ann", post, 1}}, trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			up := bodyReader(t)
			cfg := proxyConfig{caller: func(x *http1.Exchange) string { return string(x.Get("x-caller")) }}
			if row.trusted {
				cfg.server.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			p := newProxy(t, to(up), cfg)
			clients := map[int]*peer{}
			for i, a := range row.asked {
				c := clients[a.client]
				if c == nil {
					c = dial(t, p.addr)
					clients[a.client] = c
				}
				raw := a.raw
				if a.caller != "" {
					raw = strings.Replace(raw, "Host: a\r\n", "Host: a\r\nX-Caller: "+a.caller+"\r\n", 1)
				}
				go c.send(raw)
				got := c.answer()
				p.outcome(t)
				if got.StatusCode != http.StatusOK || got.body != strconv.Itoa(a.conn) {
					t.Fatalf("request %d: %d on connection %s, want connection %d", i, got.StatusCode, got.body, a.conn)
				}
			}
		})
	}
}

// bodyReader is an upstream that reads bodies, and answers with the number of the connection.
func bodyReader(t *testing.T) *upstream {
	t.Helper()
	var u *upstream
	u = newUpstream(t, func(p *peer) {
		n := strconv.FormatInt(u.conns.Load(), 10)
		for {
			req, err := http.ReadRequest(p.r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(n))+"\r\n\r\n"+n); err != nil {
				return
			}
		}
	})
	return u
}

// TestUnreadBodiesReachNobody hides requests in bodies that the upstream does not read, and checks that another client, signed in or not, gets
// the answer to its own request.
func TestUnreadBodiesReachNobody(t *testing.T) {
	hidden := "GET /stolen HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, body := range map[string]string{
		"a request":               hidden,
		"many":                    strings.Repeat(hidden, 20),
		"half of one":             "GET /stolen HTTP/1.1\r\nX: ",
		"one and half of another": hidden + "GET /stolen HTTP/1.1\r\nX: ",
		"the start of a line":     "G",
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			t.Run(method+", "+name, func(t *testing.T) {
				t.Parallel()
				up, _ := numbering(t)
				p := newProxy(t, to(up), proxyConfig{caller: func(x *http1.Exchange) string { return string(x.Get("x-caller")) }})
				attacker := dial(t, p.addr)
				for range 3 {
					attacker.send(method + " /attack HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
					attacker.answer()
					p.outcome(t)
					for _, caller := range []string{"", "X-Caller: ann\r\n"} {
						victim := dial(t, p.addr)
						victim.send("GET /mine HTTP/1.1\r\nHost: a\r\n" + caller + "\r\n")
						if a := victim.answer(); !strings.HasSuffix(a.body, " /mine") {
							t.Errorf("the victim got %d %q", a.StatusCode, a.body)
						}
						p.outcome(t)
					}
				}
			})
		}
	}
}

// TestConnectionsEndWithTheirCaller checks that connections which serve one anonymous caller alone are closed when it has gone.
func TestConnectionsEndWithTheirCaller(t *testing.T) {
	ups := []*upstream{bodyReader(t), bodyReader(t), bodyReader(t), bodyReader(t), bodyReader(t), bodyReader(t)}
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		n, err := strconv.Atoi(string(bytes.TrimPrefix(x.Path(), []byte("/"))))
		if err != nil {
			t.Error(err)
		}
		upstreams.Forward(x, to(ups[n]), http1.ForwardOptions{})
	})
	c := dial(t, addr)
	for range 2 {
		for i := range ups {
			c.send(strings.Replace(post, "/", "/"+strconv.Itoa(i), 1))
			c.answer()
		}
	}
	eventually(t, "connections are kept for the caller", func() bool { return upstreams.Idle() > 0 })
	_ = c.Close()
	eventually(t, "the caller's connections are closed", func() bool { return upstreams.Idle() == 0 })
}

// TestConnectionsOfCallersGiveWay checks that connections which serve one caller alone don't displace those that serve all.
func TestConnectionsOfCallersGiveWay(t *testing.T) {
	up := bodyReader(t)
	p := newProxy(t, to(up), proxyConfig{upstreams: http1.UpstreamsConfig{MaxIdle: 3}})
	clients := make([]*peer, 5)
	for i := range clients {
		clients[i] = dial(t, p.addr)
		clients[i].send(post)
		clients[i].answer()
		p.outcome(t)
	}
	if n := p.upstreams.Idle(); n != 3 {
		t.Errorf("%d connections are kept, want 3", n)
	}
	other := dial(t, p.addr)
	for i := range 3 {
		other.send(get)
		other.answer()
		if o := p.outcome(t); o.Reused != (i > 0) {
			t.Errorf("request %d: reused %t", i, o.Reused)
		}
	}
	if n := p.upstreams.Idle(); n != 3 {
		t.Errorf("%d connections are kept, want 3", n)
	}
	p.upstreams.Forget(up.addr)
	if n := p.upstreams.Idle(); n != 0 {
		t.Errorf("%d connections are kept after Forget", n)
	}
}

// TestWhatIsNotReusedSaysSo checks that an upstream is told when a connection ends with a request.
func TestWhatIsNotReusedSaysSo(t *testing.T) {
	proxied := strings.Replace(post, "Host", "X-Forwarded-For: 192.0.2.1\r\nHost", 1)
	for name, row := range map[string]struct {
		request string
		says    bool
	}{
		"POST":                      {post, false},
		"POST through a proxy":      {proxied, true},
		"GET through a proxy":       {strings.Replace(get, "Host", "Via: 1.1 x\r\nHost", 1), false},
		"the client's last POST":    {strings.Replace(post, "Host", "Connection: close\r\nHost", 1), true},
		"POST of an HTTP/1.0 peer":  {strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1), true},
		"the client's last GET":     {strings.Replace(get, "Host", "Connection: close\r\nHost", 1), false},
		"a chunked one for a proxy": {strings.Replace(proxied, "Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			up, heads := numbering(t)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send(row.request)
			c.answer()
			p.outcome(t)
			if head := wait(t, "head", heads); strings.Contains(head, "\r\nConnection: close\r\n") != row.says {
				t.Errorf("the upstream got %q", head)
			}
			if n := p.upstreams.Idle(); n == 1 && row.says {
				t.Error("the connection is kept")
			}
		})
	}
}

// TestRefusedUpgradeEndsTheConnection checks that a connection on which another protocol was asked for is not used again.
func TestRefusedUpgradeEndsTheConnection(t *testing.T) {
	up, _ := numbering(t)
	p := newProxy(t, to(up), proxyConfig{})
	c := dial(t, p.addr)
	c.send(lines("GET /ws HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket"))
	c.answer()
	p.outcome(t)
	if n := p.upstreams.Idle(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
}
