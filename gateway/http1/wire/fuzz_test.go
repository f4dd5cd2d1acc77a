package wire_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/http1/wire"
)

// FuzzRequest checks that whatever is taken for a request net/http takes, too, and reads in the same way: else there is
// something to smuggle.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("GET /a?b HTTP/1.1\r\nHost: a:1\r\nX-A: b\r\nX-A: c\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"))
	f.Add([]byte("GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"))
	for _, row := range refusals {
		if len(row.head) < 1<<10 {
			f.Add([]byte(row.head))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		scan := wire.HeadScanner{Limits: limits}
		end, err := scan.Scan(data)
		if err != nil || end == 0 {
			return
		}
		var r wire.Request
		if r.Parse(data[:end], limits) != nil {
			return
		}
		std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", data[:end], err)
		}
		compareRequests(t, &r, std)
		body, err := readBody(r.Length, data[end:])
		if err != nil {
			return
		}
		stdBody, err := io.ReadAll(std.Body)
		if err != nil || !bytes.Equal(body, stdBody) {
			t.Fatalf("net/http reads the body %q of %q as %q, %v", body, data, stdBody, err)
		}
	})
}

func compareRequests(t *testing.T, r *wire.Request, std *http.Request) {
	t.Helper()
	type summary struct {
		Method, Target, Host string
		Minor                int
		Length               int64
	}
	ours := summary{string(r.Method), string(r.Target), string(r.Host), r.Minor, r.Length}
	theirs := summary{std.Method, std.RequestURI, std.Host, std.ProtoMinor, std.ContentLength}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Fatalf("request (-net/http +ours):\n%s", diff)
	}
	header := make(http.Header)
	for _, f := range r.Fields {
		switch f.ID {
		case wire.Host, wire.ContentLength, wire.TransferEncoding, wire.Trailer:
			// net/http takes them out, or leaves them in, by rules of its own.
		default:
			header.Add(string(f.Name), string(f.Value))
		}
	}
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer"} {
		std.Header.Del(name)
	}
	if std.Header.Get("Pragma") == "no-cache" && header.Get("Cache-Control") == "" {
		std.Header.Del("Cache-Control") // added by net/http
	}
	if diff := cmp.Diff(std.Header, header); diff != "" {
		t.Fatalf("header (-net/http +ours):\n%s", diff)
	}
}

func readBody(length int64, data []byte) ([]byte, error) {
	if length != wire.Chunked {
		if int64(len(data)) < length {
			return nil, io.ErrUnexpectedEOF
		}
		return data[:length], nil
	}
	body, _, _, err := dechunk(string(data), len(data)+1)
	return []byte(body), err
}

// FuzzChunked checks the chunked coding against net/http's, and that it doesn't matter how the bytes come in.
func FuzzChunked(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n", 1)
	f.Add("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n", 3)
	f.Add("0x3\r\nabc\r\n0\r\n\r\n", 2)
	f.Fuzz(func(t *testing.T, coded string, step int) {
		if step < 1 {
			return
		}
		whole, _, trailers, err := dechunk(coded, len(coded)+1)
		pieces, _, trailers2, err2 := dechunk(coded, step)
		if whole != pieces || (err == nil) != (err2 == nil) || len(trailers) != len(trailers2) {
			t.Fatalf("at once: %q, %v; in steps of %d: %q, %v", whole, err, step, pieces, err2)
		}
		if err != nil {
			return
		}
		std, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(coded)))
		if err != nil || string(std) != whole {
			t.Fatalf("net/http reads %q as %q, %v; we as %q", coded, std, err, whole)
		}
	})
}

// FuzzResponse checks that whatever is taken for a response net/http takes, too, and reads in the same way.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.0 200\r\nConnection: keep-alive\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, head []byte, isHead bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		scan := wire.HeadScanner{Limits: limits}
		end, err := scan.Scan(head)
		if err != nil || end == 0 {
			return
		}
		var r wire.Response
		if r.Parse(head[:end], []byte(method), limits) != nil {
			return
		}
		req := &http.Request{Method: method}
		std, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head[:end])), req)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", head[:end], err)
		}
		if std.StatusCode != r.Status || std.ProtoMinor != r.Minor {
			t.Fatalf("net/http reads %q as %s %d", head, std.Proto, std.StatusCode)
		}
		length := r.Length
		if length == wire.UntilClose {
			length = -1
		}
		if !isHead && !wire.Bodiless(r.Status) && std.ContentLength != length {
			t.Fatalf("net/http reads the length of %q as %d; we as %d", head, std.ContentLength, length)
		}
		for _, f := range r.Fields {
			name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
			if f.ID == wire.Other && name != "Cache-Control" && len(std.Header.Values(name)) == 0 {
				t.Fatalf("net/http does not see the field %q of %q", f.Name, head)
			}
		}
	})
}
