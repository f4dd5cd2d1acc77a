package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/http1/wire"
)

var limits = wire.Limits{Line: 8 << 10, Head: 64 << 10, Fields: 128}

// parse reads a head as the server does: it finds its end, and parses what is before it.
func parse(head string) (*wire.Request, error) {
	scan := wire.HeadScanner{Limits: limits}
	end, err := scan.Scan([]byte(head))
	if err != nil {
		return nil, err
	}
	if end == 0 {
		return nil, errors.New("the head does not end")
	}
	var r wire.Request
	return &r, r.Parse([]byte(head)[:end], limits)
}

func TestRequest(t *testing.T) {
	r, err := parse("POST /a%20b/c?x=%zz&y=/../ HTTP/1.1\r\nHost: Example.org:8080\r\n" +
		"X-One:  1 \t\r\nx-two:\r\nContent-Length: 12\r\nConnection: close, X-Hop\r\nExpect: 100-Continue\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	type summary struct {
		Method, Target, Path, Query, Host string
		Minor                             int
		Length                            int64
		Close, Continue, Hop              bool
		One                               string
	}
	got := summary{
		string(r.Method), string(r.Target), string(r.Path), string(r.Query), string(r.Host), r.Minor, r.Length, r.Close,
		r.Continue, r.Names([]byte("x-hop")), string(r.Fields.Get("x-one")),
	}
	want := summary{
		"POST", "/a%20b/c?x=%zz&y=/../", "/a%20b/c", "x=%zz&y=/../", "Example.org:8080", 1, 12, true, true, true, "1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if !r.Fields.Has("x-two") || r.Fields.Get("x-two") == nil || r.Fields.Has("x-three") {
		t.Error("an empty field is not told from one that is not there")
	}
}

// TestRequestIsParsedAnew checks that nothing of a request shows in the next one that is parsed into the same memory.
func TestRequestIsParsedAnew(t *testing.T) {
	var r wire.Request
	first := "POST /a?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, upgrade, X-Hop\r\n" +
		"Upgrade: websocket\r\nExpect: 100-continue\r\n\r\n"
	if err := r.Parse([]byte(first), limits); err != nil {
		t.Fatal(err)
	}
	second := []byte("GET /b HTTP/1.1\r\nHost: b\r\n\r\n")
	if err := r.Parse(second, limits); err != nil {
		t.Fatal(err)
	}
	var fresh wire.Request
	if err := fresh.Parse(second, limits); err != nil {
		t.Fatal(err)
	}
	r.Named = nil // memory to be used again, which is no difference
	if diff := cmp.Diff(fresh, r); diff != "" {
		t.Errorf("request (-fresh +used):\n%s", diff)
	}
}

func TestTargets(t *testing.T) {
	for target, path := range map[string]string{
		"/":                        "/",
		"/a//b":                    "/a//b",
		"/a/...":                   "/a/...",
		"/.well-known/x":           "/.well-known/x",
		"/a..b/..c/d..":            "/a..b/..c/d..",
		"/a;b=c/d":                 "/a;b=c/d",
		"/a%2Fb":                   "/a%2Fb",
		"/100%25":                  "/100%25",
		"/100%25ab":                "/100%25ab",
		"/caf%C3%A9":               "/caf%C3%A9",
		"/a|b{c}\"<>^`":            "/a|b{c}\"<>^`",
		"/a?../..//%":              "/a",
		"http://example.org/a/b?c": "/a/b",
		"HTTPS://EXAMPLE.ORG/":     "/",
	} {
		t.Run(target, func(t *testing.T) {
			r, err := parse("GET " + target + " HTTP/1.1\r\nHost: example.org\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Path) != path {
				t.Errorf("path is %q, want %q", r.Path, path)
			}
		})
	}
	if r, err := parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil || string(r.Origin) != "*" {
		t.Errorf("OPTIONS *: %v", err)
	}
	if r, err := parse("GET http://a:81/x HTTP/1.0\r\n\r\n"); err != nil || string(r.Host) != "a:81" {
		t.Errorf("an absolute target without Host in HTTP/1.0: %v", err)
	}
}

// refusals are heads that must not be taken, and how they are answered.
var refusals = []struct {
	name   string
	head   string
	status int
}{
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space at the end of the request line", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n\r\n", 400},
	{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
	{"no target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"very long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
	{"trace in lower case", "trace / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405},
	{"TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400},
	{"empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
	{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
	{"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
	{"bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
	{"folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},
	{"folded first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
	{"no name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
	{"name with a slash", "GET / HTTP/1.1\r\nHost: a\r\na/b: x\r\n\r\n", 400},
	{"name outside of ASCII", "GET / HTTP/1.1\r\nHost: a\r\nXé: x\r\n\r\n", 400},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
	{"control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", 400},
	{"DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", 400},

	{"length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
	{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
	{"the same length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n", 400},
	{"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", 400},
	{"length with a plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", 400},
	{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
	{"hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", 400},
	{"empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
	{"length that overflows", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\n", 400},
	{"xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
	{"chunked, identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400},
	{"gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
	{"chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400},
	{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
	{"chunked in one field twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, Chunked\r\n\r\n", 400},
	{"chunked, gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip, chunked\r\n\r\n", 400},
	{"chunked and an empty coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", 400},
	{"coding that is no token", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun ked\r\n\r\n", 400},
	{"coding with a parameter", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=y\r\n\r\n", 400},
	{"two codings in two fields", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"unknown coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: 3\r\n\r\n", 400},
	{"length and unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: x\r\n\r\n", 400},
	{"coding with vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400},
	{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"unknown coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", 400},

	{"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
	{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	{"two Authorizations", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400},
	{"Host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
	{"Host with a path", "GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400},
	{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"absolute target for another host", "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute target with a user", "GET http://a@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute target without a path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute target in another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"dot segment in an absolute target", "GET http://a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"OPTIONS *a", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"raw byte outside of ASCII", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"control character in the query", "GET /?a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},

	{"expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417},
	{"Connection names Authorization", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Authorization\r\n\r\n", 400},
	{"Connection names Host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400},
	{"Connection names Content-Length", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n\r\n", 400},
	{"Connection is no list of tokens", "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", 400},

	{"request line too long", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
	{"request line without an end", "GET /" + strings.Repeat("a", 9<<10), 414},
	{"1.1 MB header", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1_100_000) + "\r\n\r\n", 431},
	{"1.1 MB header without an end", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1_100_000), 431},
	{"20,000 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 20_000) + "\r\n", 431},
	{"129 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 128) + "\r\n", 431},
}

// badPaths are paths that are read as others by some server.
var badPaths = []string{
	"//evil.com/..", "//", "/a/../b", "/..", "/.", "/./a", "/a/.", "/a/%2e%2e/admin", "/a/%2E./b", "/a/.%2e", "/%2e",
	"/pub/%2e%2e/admin", "/a%2f..%2fb", "/a%2f%2e%2e/b", "/a/..;/b", "/a/..;x=y", "/a/.;/b", "/a/%252e%252e/b",
	"/a/%25252e./b", "/a%252f../b", "/a/%c0%ae%c0%ae/b", "/a%c0%af", "/a%c1%9cb", "/a\\b", "/a%5cb", "/a%5Cb", "/a%255cb",
	"/%00", "/a%2500", "/%", "/%4", "/%zz", "/a%u002e",
}

func TestRefusedRequests(t *testing.T) {
	rows := refusals
	for _, p := range badPaths {
		rows = append(rows, struct {
			name, head string
			status     int
		}{"path " + p, "GET " + p + " HTTP/1.1\r\nHost: a\r\n\r\n", 400})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := parse(row.head)
			var refusal *wire.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("error is %v, want a refusal", err)
			}
			if refusal.Status != row.status {
				t.Errorf("status is %d (%s), want %d", refusal.Status, refusal.Reason, row.status)
			}
			if refusal.Code == "" || refusal.Reason == "" {
				t.Errorf("refusal says nothing: %+v", refusal)
			}
		})
	}
}

// TestHeadInPieces checks that a head is found, or refused, however its bytes come in.
func TestHeadInPieces(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n"
	for step := 1; step < len(head); step++ {
		scan := wire.HeadScanner{Limits: limits}
		for n := 0; n < len(head); n += step {
			if end, err := scan.Scan([]byte(head[:n])); end != 0 || err != nil {
				t.Fatalf("scan of %d bytes in steps of %d: %d, %v", n, step, end, err)
			}
		}
		if end, err := scan.Scan([]byte(head + "rest")); end != len(head) || err != nil {
			t.Errorf("scan in steps of %d: %d, %v", step, end, err)
		}
	}
}

func TestHosts(t *testing.T) {
	for host, valid := range map[string]bool{
		"a": true, "example.org": true, "example.org.": true, "EXAMPLE.org:8080": true, "my_svc": true, "10.0.0.1:80": true,
		"[::1]": true, "[2001:db8::1]:443": true, "a:65535": true,

		"": false, ".": false, ".a": false, "a..b": false, "a:": false, "a:65536": false, "a:x": false, "a:+1": false,
		"a:1:2": false, "a b": false, "a@b": false, "a/b": false, "a,b": false, "a%2e": false, "::1": false, "[::1": false,
		"[::1]x": false, "[::1%25eth0]": false, "[1.2.3.4]": false, "[]": false, "é": false, "a\tb": false, "a:000080": false,
		strings.Repeat("a", 254): false,
	} {
		if got := wire.ValidHost([]byte(host)); got != valid {
			t.Errorf("ValidHost(%q) = %t", host, got)
		}
	}
}
