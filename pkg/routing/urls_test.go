package routing_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"micromesh/pkg/netpolicy"
	"micromesh/pkg/routing"
)

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://example.com":               "http://example.com:80",
		"https://example.com":              "https://example.com:443",
		"HTTP://EXAMPLE.com:8080/":         "http://example.com:8080",
		"http://example.com.:80":           "http://example.com:80",
		"http://example.com/a/b/":          "http://example.com:80/a/b",
		"http://example.com/%61/B":         "http://example.com:80/%61/B",
		"http://127.0.0.1:9000":            "http://127.0.0.1:9000",
		"http://10.1.2.3":                  "http://10.1.2.3:80",
		"http://localhost:9000":            "http://localhost:9000",
		"http://[::1]:9000":                "http://[::1]:9000",
		"http://[0:0:0:0:0:0:0:1]:9000":    "http://[::1]:9000",
		"http://[::ffff:10.0.0.1]:80":      "http://10.0.0.1:80",
		"http://my_service.namespace:8080": "http://my_service.namespace:8080",
		"http://xn--bcher-kva.example":     "http://xn--bcher-kva.example:80",
		"grpc://10.0.0.1:9000":             "grpc://10.0.0.1:9000",
	} {
		got, err := routing.ParseURL(in, "http", "https", "grpc")
		if err != nil || got.String() != want {
			t.Errorf("%s became %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":                        "",
		"no scheme":                      "example.com",
		"another scheme":                 "ftp://example.com",
		"a scheme that runs":             "javascript://example.com/%0aalert(1)",
		"no host":                        "http://",
		"no host but a port":             "http://:80",
		"opaque":                         "http:example.com",
		"a user":                         "http://a@example.com",
		"a user and a password":          "http://a:b@example.com",
		"an empty user":                  "http://@example.com",
		"a query":                        "http://example.com?a",
		"an empty query":                 "http://example.com?",
		"a fragment":                     "http://example.com#a",
		"an empty fragment":              "http://example.com#",
		"a space":                        "http://example.com/a b",
		"a tab":                          "http://exam\tple.com",
		"a line break":                   "http://example.com\r\n",
		"a NUL":                          "http://example.com/\x00",
		"an encoded NUL":                 "http://example.com/%00",
		"an encoded line break":          "http://example.com/%0d%0a",
		"a backslash":                    `http://example.com\@evil.com`,
		"an encoded backslash":           "http://example.com/%5c..",
		"letters beyond ASCII":           "http://bücher.example",
		"full-width letters":             "http://ｅxample.com",
		"bad encoding":                   "http://example.com/%zz",
		"encoding in the host":           "http://ex%61mple.com",
		"dot segments":                   "http://example.com/a/../b",
		"encoded dot segments":           "http://example.com/a/%2E%2e/b",
		"a dot segment":                  "http://example.com/./a",
		"a dot segment behind a slash":   "http://example.com/a%2f..%2fb",
		"empty segments":                 "http://example.com//a",
		"port 0":                         "http://example.com:0",
		"port 65536":                     "http://example.com:65536",
		"a port with a sign":             "http://example.com:+80",
		"a port with zeros":              "http://example.com:080",
		"an empty port":                  "http://example.com:",
		"no port where there is none":    "grpc://example.com",
		"two ports":                      "http://example.com:80:81",
		"an empty label":                 "http://a..b",
		"a label with a hyphen in front": "http://-a.b",
		"a label of 64":                  "http://" + strings.Repeat("a", 64) + ".com",
		"a name of 255":                  "http://" + strings.Repeat("a.", 127) + "a",
		"2,049 bytes":                    "http://example.com/" + strings.Repeat("a", 2030),
		"an address as a number":         "http://2130706433",
		"an address in hex":              "http://0x7f000001",
		"an address in short":            "http://127.1",
		"an address in octal":            "http://0177.0.0.1",
		"an address with zeros":          "http://127.0.0.01",
		"an address partly in hex":       "http://127.0.0.0x1",
		"five numbers":                   "http://1.2.3.4.5",
		"unspecified":                    "http://0.0.0.0",
		"unspecified, IPv6":              "http://[::]",
		"metadata service":               "http://169.254.169.254",
		"metadata service in IPv6":       "http://[::ffff:a9fe:a9fe]",
		"metadata service of AWS, IPv6":  "http://[fd00:ec2::254]",
		"metadata service of Alibaba":    "http://100.100.100.200",
		"metadata service of Azure":      "http://168.63.129.16",
		"metadata service of Google":     "http://metadata.google.internal",
		"metadata service in short":      "http://metadata",
		"the same with a dot":            "http://METADATA.google.internal.",
		"link-local":                     "http://[fe80::1]",
		"a zone":                         "http://[fe80::1%25eth0]",
		"a zone on a global address":     "http://[2001:db8::1%25eth0]",
		"multicast":                      "http://239.0.0.1",
		"multicast, IPv6":                "http://[ff02::1]",
		"broadcast":                      "http://255.255.255.255",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := routing.ParseURL(in, "http", "https", "grpc"); err == nil {
				t.Errorf("%q became %s", in, got)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
		})
	}
}

// What is accepted is canonical, nothing reads it differently, and its host is one that may be dialled.
func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"http://example.com:80/a", "https://[::1]/%41", "http://127.1", "http://a@b", "http://0x7f.1:80", "http://[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		u, err := routing.ParseURL(in, "http", "https")
		if err != nil {
			return
		}
		again, err := routing.ParseURL(u.String(), "http", "https")
		if err != nil || again != u {
			t.Fatalf("%q became %q, and that %q, %v", in, u, again, err)
		}
		std, err := url.Parse(u.String())
		if err != nil || std.Hostname() != u.Host || std.EscapedPath() != u.Path || std.User != nil || std.RawQuery != "" || std.Fragment != "" {
			t.Fatalf("%q became %q, which net/url reads as %+v, %v", in, u, std, err)
		}
		if a, err := netip.ParseAddr(u.Host); err == nil && netpolicy.Never(a) != nil {
			t.Fatalf("%q leads to %s", in, a)
		}
	})
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{"": "", "/": "", "///": "", "/a": "/a", "/a/": "/a", "/a%2Fb": "/a%2Fb"} {
		if got, err := routing.ParsePath(in); err != nil || got != want {
			t.Errorf("%q became %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"a", "//a", "/a//b", "/..", "/a/%2e", "/%", "/a%0Ab"} {
		if got, err := routing.ParsePath(in); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}
