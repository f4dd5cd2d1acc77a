package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"runtime"
	"testing"

	_ "google.golang.org/grpc/encoding/gzip" // a program may link it, which is all that it takes to have a server decode it
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

// post calls a public method with a message that is said to be compressed, without a gRPC client, and gives the status.
func (f *fixture) post(t *testing.T, encoding string, message []byte) string {
	t.Helper()
	body := binary.BigEndian.AppendUint32([]byte{1}, uint32(len(message)))
	url := "http://" + f.host.Nodes.Lookup("user-svc").Nodes[0].Address + "/user.v1.UserService/GetPublicKey"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, io.MultiReader(bytes.NewReader(body), bytes.NewReader(message)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc+json")
	req.Header.Set("Te", "trailers")
	if encoding != "" {
		req.Header.Set("Grpc-Encoding", encoding)
	}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	rsp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if _, err := io.Copy(io.Discard, rsp.Body); err != nil {
		t.Fatal(err)
	}
	return rsp.Header.Get("Grpc-Status") + rsp.Trailer.Get("Grpc-Status")
}

// TestCompressedMessages sends a bomb: 10 MB that become 10 GB of white space, which JSON passes over.
func TestCompressedMessages(t *testing.T) {
	f := newFixture(t)
	bomb := append(gzipped(t, bytes.Repeat([]byte(" "), 10<<20), 1000), gzipped(t, []byte("{}"), 1)...)
	rows := []struct {
		name, encoding string
		message        []byte
		status         string // https://grpc.github.io/grpc/core/md_doc_statuscodes.html
	}{
		{"a small message", "gzip", gzipped(t, []byte("{}"), 1), "0"},
		{"a bomb", "gzip", bomb, "8"},
		{"a bomb in a message", "gzip", gzipped(t, bomb, 1), "3"},
		{"an encoding that is not linked", "deflate", bomb, "12"},
		{"two encodings", "gzip, gzip", bomb, "12"},
		{"no encoding named", "", bomb, "13"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			calls := f.fake.GetPublicKeyCallCount()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if got := f.post(t, r.encoding, r.message); got != r.status {
				t.Errorf("status %s, want %s", got, r.status)
			}
			runtime.ReadMemStats(&after)
			// The message as it comes, what a message may have decoded, and the buffers that grow to hold that.
			if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
			if ran := f.fake.GetPublicKeyCallCount() > calls; ran != (r.status == "0") {
				t.Errorf("that the handler ran is %t", ran)
			}
		})
	}
	if got := f.post(t, "gzip", gzipped(t, []byte("{}"), 1)); got != "0" {
		t.Errorf("after that the status is %s", got)
	}
}
