package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"micromesh/gateway/http1/wire"
)

// dechunk takes the coding off coded, of which step bytes more are there each time that more is needed.
func dechunk(coded string, step int) (body, rest string, trailers wire.Fields, err error) {
	var c wire.Chunks
	var sb strings.Builder
	from, to := 0, 0
	for {
		n, data, err := c.Next([]byte(coded)[from:to])
		from += n
		sb.Write(data)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return sb.String(), coded[from:], c.Trailers, nil
		case errors.Is(err, wire.ErrMore) && to < len(coded):
			to = min(to+step, len(coded))
		case errors.Is(err, wire.ErrMore):
			return sb.String(), "", nil, io.ErrUnexpectedEOF
		default:
			return sb.String(), "", nil, err
		}
	}
}

func TestChunked(t *testing.T) {
	const coded = "5\r\nhello\r\n1;a=b;c=\"d e\"\r\n \r\n00000005\r\nworld\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\nGET /"
	for _, step := range []int{1, 2, 3, 7, len(coded)} {
		body, rest, trailers, err := dechunk(coded, step)
		if err != nil || body != "hello world" || !strings.HasSuffix(coded, rest) {
			t.Errorf("in steps of %d: body %q, rest %q, error %v", step, body, rest, err)
		}
		if string(trailers.Get("x-sum")) != "1" || string(trailers.Get("x-two")) != "2" {
			t.Errorf("in steps of %d: trailers %q", step, trailers)
		}
	}
}

func TestRefusedChunks(t *testing.T) {
	for name, coded := range map[string]string{
		"bare LF after the size":       "3\nabc\r\n0\r\n\r\n",
		"bare LF after two digits":     "03\nabc\r\n0\r\n\r\n",
		"bare LF after an extension":   "3;a\nabc\r\n0\r\n\r\n",
		"no CRLF after the data":       "3\r\nabcXX0\r\n\r\n",
		"bare LF after the data":       "3\r\nabc\n0\r\n\r\n",
		"bare LF at the end":           "3\r\nabc\r\n0\r\n\n",
		"bare CR after the size":       "3\rabc\r\n0\r\n\r\n",
		"bare CR in an extension":      "3;a\rb\r\nabc\r\n0\r\n\r\n",
		"prefix 0x":                    "0x3\r\nabc\r\n0\r\n\r\n",
		"plus":                         "+3\r\nabc\r\n0\r\n\r\n",
		"minus":                        "-3\r\nabc\r\n0\r\n\r\n",
		"space before the size":        " 3\r\nabc\r\n0\r\n\r\n",
		"space after the size":         "3 \r\nabc\r\n0\r\n\r\n",
		"empty size":                   "\r\nabc\r\n0\r\n\r\n",
		"no size":                      ";a\r\nabc\r\n0\r\n\r\n",
		"size that overflows 64 bits":  "10000000000000003\r\nabc\r\n0\r\n\r\n",
		"size that overflows 63 bits":  "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"more data than the size":      "3\r\nabcd\r\n0\r\n\r\n",
		"less data than the size":      "4\r\nabc\r\n0\r\n\r\n",
		"endless size line":            "3;" + strings.Repeat("a", 300),
		"extension with a control":     "3;a\x01\r\nabc\r\n0\r\n\r\n",
		"16 KiB of extensions":         strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\na\r\n", 100),
		"folded trailer":               "0\r\nA: b\r\n c\r\n\r\n",
		"trailer with a bare LF":       "0\r\nA: b\n\r\n",
		"trailer without a colon":      "0\r\nA\r\n\r\n",
		"trailer with a NUL":           "0\r\nA: \x00\r\n\r\n",
		"8 KiB of trailers":            "0\r\nA: " + strings.Repeat("a", 9<<10) + "\r\n\r\n",
		"33 trailers":                  "0\r\n" + strings.Repeat("A: b\r\n", 33) + "\r\n",
		"data that looks like a chunk": "1\r\na0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1, len(coded)} {
				_, _, _, err := dechunk(coded, step)
				var refusal *wire.Error
				if !errors.As(err, &refusal) || refusal.Status != 400 {
					t.Errorf("in steps of %d: error is %v, want a refusal", step, err)
				}
			}
		})
	}
}
