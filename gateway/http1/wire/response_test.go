package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/http1/wire"
)

func TestResponse(t *testing.T) {
	type summary struct {
		Status  int
		Reason  string
		Length  int64
		Close   bool
		Upgrade string
	}
	for _, row := range []struct {
		name, method, head string
		want               summary
	}{
		{"with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", summary{200, "OK", 3, false, ""}},
		{"without a reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", summary{200, "", 0, false, ""}},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", summary{200, "OK", wire.Chunked, false, ""}},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", summary{200, "OK", wire.UntilClose, true, ""}},
		{"to HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", summary{200, "OK", 0, false, ""}},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", summary{204, "No Content", 0, false, ""}},
		{"not modified", "GET", "HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", summary{304, "x", 0, false, ""}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", summary{200, "OK", 3, true, ""}},
		{
			"HTTP/1.0 that stays", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
			summary{200, "OK", 3, false, ""},
		},
		{
			"switching", "GET", "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			summary{101, "x", 0, false, "websocket"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var r wire.Response
			if err := r.Parse([]byte(row.head), []byte(row.method), limits); err != nil {
				t.Fatal(err)
			}
			got := summary{r.Status, string(r.Reason), r.Length, r.Close, string(r.Upgrade)}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedResponses(t *testing.T) {
	for name, head := range map[string]string{
		"HTTP/2":               "HTTP/2 200 OK\r\n\r\n",
		"no version":           "200 OK\r\n\r\n",
		"two digits":           "HTTP/1.1 20 OK\r\n\r\n",
		"four digits":          "HTTP/1.1 2000 OK\r\n\r\n",
		"status 600":           "HTTP/1.1 600 OK\r\n\r\n",
		"status 099":           "HTTP/1.1 099 OK\r\n\r\n",
		"NUL in the reason":    "HTTP/1.1 200 \x00\r\n\r\n",
		"CR in a value":        "HTTP/1.1 200 OK\r\nA: a\rb\r\n\r\n",
		"length and coding":    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
		"coding in HTTP/1.0":   "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"other coding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"folded field":         "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
		"space before a colon": "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var r wire.Response
			if err := r.Parse([]byte(head), []byte("GET"), limits); err == nil {
				t.Errorf("taken as %d %q", r.Status, r.Reason)
			}
		})
	}
}
