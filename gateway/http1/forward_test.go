package http1_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/http1"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestForwardedRequests has requests, and what of them must reach the upstream, byte for byte.
func TestForwardedRequests(t *testing.T) {
	forwarded := []string{"Via: 1.1 micromesh", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: a.example:1", "X-Forwarded-Proto: http"}
	for _, row := range []struct {
		name    string
		request []string
		want    []string // but for the forwarded fields, which come behind
	}{
		{
			"path and query are not touched",
			[]string{"GET /A%2fb//c/%7e;x=%E4?q=%zz&&/../=%00 HTTP/1.1", "Host: a.example:1"},
			[]string{"GET /A%2fb//c/%7e;x=%E4?q=%zz&&/../=%00 HTTP/1.1", "Host: a.example:1"},
		},
		{
			"an empty query stays",
			[]string{"GET /? HTTP/1.1", "Host: a.example:1"},
			[]string{"GET /? HTTP/1.1", "Host: a.example:1"},
		},
		{
			"an absolute target becomes a path",
			[]string{"GET http://A.example:1/x HTTP/1.1", "Host: a.example:1"},
			[]string{"GET /x HTTP/1.1", "Host: a.example:1"},
		},
		{
			"any method", []string{"M-SEARCH / HTTP/1.1", "Host: a.example:1"},
			[]string{"M-SEARCH / HTTP/1.1", "Host: a.example:1"},
		},
		{
			"OPTIONS *", []string{"OPTIONS * HTTP/1.1", "Host: a.example:1"},
			[]string{"OPTIONS * HTTP/1.1", "Host: a.example:1"},
		},
		{
			"fields keep their order, case and number",
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "x-b: 2", "Cookie: a=b", "X-A: 1", "cookie: c=d", "X-B:  3 "},
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "x-b: 2", "Cookie: a=b", "X-A: 1", "cookie: c=d", "X-B: 3"},
		},
		{
			"fields of one hop stay here",
			[]string{
				"GET / HTTP/1.1", "Host: a.example:1", "Connection: keep-alive, X-Hop, TE", "Keep-Alive: timeout=5", "x-hop: 1",
				"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "TE: gzip", "Trailer: X", "X-Stays: 1",
			},
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "X-Stays: 1"},
		},
		{
			"TE: trailers is passed on",
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "TE: trailers"},
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "TE: trailers"},
		},
		{
			"identity from outside is dropped",
			[]string{
				"GET / HTTP/1.1", "Host: a.example:1", "X-User-ID: 1", "x-user-id: 2", "X_User_ID: 3", "X-USER_id: 4", "X-Org-ID: 5",
				"X-Roles: admin", "X-Scopes: all", "X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X-Forwarded-User: root",
				"Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "Micro-Endpoint: X.Y", "Micro_Id: 1", "micro-from-service: x",
				"Timeout: 1", "Remote: 6.6.6.6", "Authorization: Bearer x", "X-Users: 1", "Microphone: on",
			},
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "Timeout: 1", "Remote: 6.6.6.6", "Authorization: Bearer x", "X-Users: 1", "Microphone: on"},
		},
		{
			"what the gateway sets replaces what the client sent",
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "X-Request-Id: evil", "x_request_id: evil", "X-A: 1"},
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "X-A: 1"},
		},
		{
			"method override is passed on, and means nothing",
			[]string{"POST / HTTP/1.1", "Host: a.example:1", "X-HTTP-Method-Override: DELETE", "Content-Length: 0"},
			[]string{"POST / HTTP/1.1", "Host: a.example:1", "X-HTTP-Method-Override: DELETE", "~Content-Length: 0"},
		},
		{
			"h2c is not asked for",
			[]string{
				"GET / HTTP/1.1", "Host: a.example:1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
			},
			[]string{"GET / HTTP/1.1", "Host: a.example:1"},
		},
		{
			"framing in disguise is dropped",
			[]string{"GET / HTTP/1.1", "Host: a.example:1", "Content_Length: 5", "Transfer_Encoding: chunked"},
			[]string{"GET / HTTP/1.1", "Host: a.example:1"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, heads := answering(t, ok, false)
			p := newProxy(t, to(up), proxyConfig{before: func(x *http1.Exchange) {
				if x.Get("x-request-id") != nil {
					x.UpstreamHeader().Set("X-Request-Id", "7")
				}
			}})
			c := dial(t, p.addr)
			c.send(lines(row.request...))
			if a := c.answer(); a.StatusCode != http.StatusOK || a.body != "ok" {
				t.Fatalf("answer is %d %q", a.StatusCode, a.body)
			}
			want := append([]string(nil), row.want...)
			last := ""
			if l := len(want) - 1; strings.HasPrefix(want[l], "~") { // comes behind the forwarded fields
				last, want = want[l][1:], want[:l]
			}
			want = append(want, forwarded...)
			if strings.Contains(row.name, "the gateway sets") {
				want = append(want, "X-Request-Id: 7")
			}
			if last != "" {
				want = append(want, last)
			}
			if diff := cmp.Diff(lines(want...), wait(t, "request", heads)); diff != "" {
				t.Errorf("forwarded request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargets(t *testing.T) {
	for _, row := range []struct{ url, address, prefix string }{
		{"http://10.0.0.1:8080", "10.0.0.1:8080", ""},
		{"http://example.org/", "example.org:80", ""},
		{"https://example.org/base%20x/", "example.org:443", "/base%20x"},
		{"http://[::1]:81/a/b", "[::1]:81", "/a/b"},
	} {
		got, err := http1.ParseTarget(row.url)
		if err != nil || got.Address != row.address || got.PathPrefix != row.prefix {
			t.Errorf("%s is %+v, %v", row.url, got, err)
		}
	}
	for _, bad := range []string{
		"", "example.org", "ftp://a", "unix:/x", "http://", "http://u:secret@a/", "http://a/?q", "http://a/#f", "http://a/../b",
		"http://a b/", "http://a/%2e%2e", "http://a:99999", "http://u:secret@a:x/", "http://a//b/",
	} {
		if got, err := http1.ParseTarget(bad); err == nil {
			t.Errorf("%q is taken as %+v", bad, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("error %q tells a password", err)
		}
	}
}

func TestTargetPolicies(t *testing.T) {
	up, heads := answering(t, ok, false)
	target := http1.Target{Address: up.addr, Host: "inner.example", PathPrefix: "/base"}
	p := newProxy(t, target, proxyConfig{server: http1.Config{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}})
	c := dial(t, p.addr)
	c.send(lines("GET /x?y HTTP/1.1", "Host: a", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: b",
		"X-Forwarded-Evil: 1"))
	c.answer()
	want := lines("GET /base/x?y HTTP/1.1", "Host: inner.example", "Via: 1.1 micromesh", "X-Forwarded-For: 1.2.3.4, 127.0.0.1",
		"X-Forwarded-Host: b", "X-Forwarded-Proto: https")
	if diff := cmp.Diff(want, wait(t, "request", heads)); diff != "" {
		t.Errorf("forwarded request (-want +got):\n%s", diff)
	}
}

// TestForwardedAnswers has answers of an upstream, and what the client must get of them.
func TestForwardedAnswers(t *testing.T) {
	const date = "Date: Thu, 01 Jan 1970 00:00:00 GMT"
	for _, row := range []struct {
		name    string
		request string // of HTTP/1.1 if empty
		answer  string
		want    string
		stays   bool // the client's connection
	}{
		{
			"length", "", lines("HTTP/1.1 200 Fine, thanks", date, "content-length: 3", "x-a: 1", "X-A: 2") + "abc",
			lines("HTTP/1.1 200 Fine, thanks", date, "content-length: 3", "x-a: 1", "X-A: 2") + "abc", true,
		},
		{
			"chunked", "", lines("HTTP/1.1 200 OK", date, "Transfer-Encoding: chunked") + "3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
			lines("HTTP/1.1 200 OK", date, "Transfer-Encoding: chunked") + "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", true,
		},
		{
			"trailers", "",
			lines("HTTP/1.1 200 OK", date, "Trailer: X-Sum", "Transfer-Encoding: chunked") +
				"1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\n",
			lines("HTTP/1.1 200 OK", date, "Trailer: X-Sum", "Transfer-Encoding: chunked") + "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", true,
		},
		{
			"chunked for HTTP/1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			lines("HTTP/1.1 200 OK", date, "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\nX: y\r\n\r\n",
			lines("HTTP/1.1 200 OK", date, "Connection: close") + "abc", false,
		},
		{
			"until close", "", lines("HTTP/1.0 200 OK", date) + "abc",
			lines("HTTP/1.1 200 OK", date, "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", true,
		},
		{
			"until close for HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", lines("HTTP/1.1 200 OK", date, "Connection: close") + "abc",
			lines("HTTP/1.1 200 OK", date, "Connection: close") + "abc", false,
		},
		{
			"fields of one hop stay there", "",
			lines("HTTP/1.1 200 OK", date, "Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Upgrade: h2c",
				"Proxy-Authenticate: Basic", "Content-Length: 0"),
			lines("HTTP/1.1 200 OK", date, "Content-Length: 0"), true,
		},
		{
			"redirect", "", lines("HTTP/1.1 302 Found", date, "Location: https://elsewhere/?a=b", "Content-Length: 0"),
			lines("HTTP/1.1 302 Found", date, "Location: https://elsewhere/?a=b", "Content-Length: 0"), true,
		},
		{
			"no content", "", lines("HTTP/1.1 204 No Content", date, "Content-Length: 0"),
			lines("HTTP/1.1 204 No Content", date), true,
		},
		{
			"not modified", "", lines("HTTP/1.1 304 Not Modified", date, "ETag: \"x\"", "Content-Length: 100"),
			lines("HTTP/1.1 304 Not Modified", date, "ETag: \"x\"", "Content-Length: 100"), true,
		},
		{
			"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", lines("HTTP/1.1 200 OK", date, "Content-Length: 100"),
			lines("HTTP/1.1 200 OK", date, "Content-Length: 100"), true,
		},
		{
			"HEAD of something chunked", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
			lines("HTTP/1.1 200 OK", date, "Transfer-Encoding: chunked"), lines("HTTP/1.1 200 OK", date), true,
		},
		{
			"interim answers", "",
			lines("HTTP/1.1 100 Continue") + lines("HTTP/1.1 103 Early Hints", "Link: </x>") +
				lines("HTTP/1.1 200 OK", date, "Content-Length: 0"),
			lines("HTTP/1.1 103 Early Hints", "Link: </x>") + lines("HTTP/1.1 200 OK", date, "Content-Length: 0"), true,
		},
		{
			"interim answers for HTTP/1.0", "GET / HTTP/1.0\r\n\r\n",
			lines("HTTP/1.1 103 Early Hints", "Link: </x>") + lines("HTTP/1.1 200 OK", date, "Content-Length: 0"),
			lines("HTTP/1.1 200 OK", date, "Content-Length: 0", "Connection: close"), false,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, _ := answering(t, row.answer, true)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			request := row.request
			if request == "" {
				request = get
			}
			c.send(request)
			if diff := cmp.Diff(row.want, c.read(len(row.want))); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if o := p.outcome(t); o.Result != http1.Answered || o.Err != nil || o.FirstByte <= 0 {
				t.Errorf("outcome is %+v", o)
			}
			if !row.stays {
				c.closed()
				return
			}
			c.send("BAD\r\n\r\n") // if what came was the end of the answer, the answer to this is next
			if a := c.answer(); a.StatusCode != http.StatusBadRequest {
				t.Errorf("next answer is %d", a.StatusCode)
			}
		})
	}
}

// TestAnswerHeader checks that what the handler sets goes to the client, in place of what the upstream sent.
func TestAnswerHeader(t *testing.T) {
	up, _ := answering(t, lines("HTTP/1.1 200 OK", "X-Request-Id: theirs", "X-A: 1", "Content-Length: 0"), false)
	p := newProxy(t, to(up), proxyConfig{before: func(x *http1.Exchange) { x.Header().Set("x-request-id", "ours") }})
	c := dial(t, p.addr)
	c.send(get)
	a := c.answer()
	if got := a.Header.Values("X-Request-Id"); len(got) != 1 || got[0] != "ours" || a.Header.Get("X-A") != "1" {
		t.Errorf("header is %v", a.Header)
	}
}

// TestBadAnswers checks that answers which are none become a clean 502.
func TestBadAnswers(t *testing.T) {
	for name, raw := range map[string]string{
		"nonsense":                "hello\r\n\r\n",
		"bare LF":                 "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"no status":               "HTTP/1.1 OK\r\n\r\n",
		"length and coding":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"CR in a value":           "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n",
		"header without an end":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 100_000),
		"too many fields":         "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 300) + "\r\n",
		"a switch nobody asked":   "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"endless interim answers": strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20),
		"a broken first chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"half a head":             "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		t.Run(name, func(t *testing.T) {
			up, _ := answering(t, raw, true)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") // to HTTP/1.0, interim answers aren't passed on
			if a := c.answer(); a.StatusCode != http.StatusBadGateway || !strings.Contains(a.body, "bad_answer") {
				t.Errorf("answer is %d %q", a.StatusCode, a.body)
			}
			if o := p.outcome(t); o.Result != http1.BadAnswer || o.Err == nil || !o.Retryable {
				t.Errorf("outcome is %+v", o)
			}
			if n := p.upstreams.Idle(); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		})
	}
}

// TestTruncatedAnswers checks that an answer which breaks off does not look complete to the client.
func TestTruncatedAnswers(t *testing.T) {
	for name, raw := range map[string]string{
		"length":       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"chunked":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
		"no last one":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"no end":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
		"broken later": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n" + strings.Repeat("a", 0x8000) + "\r\nxyz",
	} {
		for _, version := range []string{"1.1", "1.0"} {
			t.Run(name+" for "+version, func(t *testing.T) {
				up, _ := answering(t, raw, true)
				p := newProxy(t, to(up), proxyConfig{})
				c := dial(t, p.addr)
				c.send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
				body, err := c.rest()
				if err == nil && (version == "1.0" || strings.HasSuffix(body, "0\r\n\r\n")) {
					t.Errorf("%q ends as if it were complete", body)
				}
				if o := p.outcome(t); o.Result != http1.Broken || o.Retryable || o.Status != 200 {
					t.Errorf("outcome is %+v", o)
				}
			})
		}
	}
}

// TestSmuggling checks that requests which hide another one reach the upstream never more than once.
func TestSmuggling(t *testing.T) {
	const hidden = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, raw := range map[string]string{
		"CL.TE":             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE.CL":             "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2c\r\n" + hidden,
		"TE.TE":             "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + hidden,
		"TE with a space":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE folded":         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden,
		"CL.CL":             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 34\r\n\r\n" + hidden,
		"chunk line LF":     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n" + hidden,
		"chunk ext LF":      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n" + hidden,
		"chunk terminator":  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX\r\n0\r\n\r\n" + hidden,
		"CR for a line end": "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\rGET /admin HTTP/1.1\r\n\r\n" + hidden,
		"LF in the target":  "GET /\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n" + hidden,
	} {
		t.Run(name, func(t *testing.T) {
			up, heads := answering(t, ok, false)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send(raw)
			a := c.answer()
			if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusNotImplemented {
				t.Errorf("answer is %d", a.StatusCode)
			}
			c.closed()
			if len(heads) > 0 {
				t.Errorf("the upstream got %q", <-heads)
			}
		})
	}
}
