package paths_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"micromesh/internal/paths"
	"micromesh/internal/paths/pathstest"
)

func read(t testing.TB, path string) []string {
	t.Helper()
	readings, err := paths.Read(nil, path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return readings
}

// TestReadings holds one spelling of each kind of server against the readings.
func TestReadings(t *testing.T) {
	for spelling, reading := range map[string]string{
		"/admin%2Fusers":                      "/admin/users",
		"/admin%252fusers":                    "/admin/users",
		"/admin%25252fusers":                  "/admin/users",
		"/admin%5Cusers":                      "/admin/users",
		"/admin%u002fusers":                   "/admin/users",
		"/admin%25u002fusers":                 "/admin/users",
		"/admin%c0%afusers":                   "/admin/users",
		"/admin%e0%80%afusers":                "/admin/users",
		"/admin%f0%80%80%afusers":             "/admin/users",
		"/admin%EF%BC%8Fusers":                "/admin/users",
		"/admin/(S(x))/users":                 "/admin/users",
		"/(A(x)S(y))/admin/users":             "/admin/users",
		"/admin/%28S%28x%29%29/users":         "/admin/users",
		"/admin::$INDEX_ALLOCATION/users":     "/admin/users",
		"/admin:$I30:$INDEX_ALLOCATION/users": "/admin/users",
		"/admin/users%3A%3A$DATA":             "/admin/users",
		"/admin/users+":                       "/admin/users",
		"/+admin/%2Busers":                    "/admin/users",
		"/ad%CD%8Fmin/users":                  "/admin/users", // each default ignorable character
		"/ad%E1%85%9Fmin/users":               "/admin/users",
		"/ad%E1%9E%B4min/users":               "/admin/users",
		"/ad%E1%A0%8Bmin/users":               "/admin/users",
		"/ad%E3%85%A4min/users":               "/admin/users",
		"/ad%EF%BE%A0min/users":               "/admin/users",
		"/ad%F3%A0%84%80min/users":            "/admin/users",
		"/admin/users%E2%80%A8":               "/admin/users", // every white space of Unicode
		"/admin/%E2%80%A9users":               "/admin/users",
		"/admin%E1%9A%80/users":               "/admin/users",
		"/admin/users%E3%80%80":               "/admin/users",
		"/admin/users%EF%BB%BF":               "/admin/users", // which JavaScript trims too
		"/admin/users%E1%A0%8E":               "/admin/users",
		"/admin%EF%BC%85%32fusers":            "/admin/users", // a fullwidth percent sign
		"/admin%E2%88%95users":                "/admin/users",
		"/admin//users":                       "/admin/users",
		"/admin/;x/users":                     "/admin/users",
		"/admin;x=y/users;z":                  "/admin/users",
		"/admin;x=y%2Fusers":                  "/admin", // parameters go to the next slash that was sent
		"/admin%3Bx/users":                    "/admin/users",
		"/admin/users%3Fx":                    "/admin/users",
		"/admin/users%23x":                    "/admin/users",
		"/admin/users;x/y":                    "/admin/users",
		"/admin/users/":                       "/admin/users",
		"/admin/users%2F":                     "/admin/users",
		"/admin/users///":                     "/admin/users",
		"/admin/users%20":                     "/admin/users",
		"/%20admin/users.":                    "/admin/users",
		"/ad%0Amin/users":                     "/admin/users",
		"/ad%ffmin/users":                     "/admin/users",
		"/ad%C2%ADmin/users":                  "/admin/users",
		"/%EF%BD%81dmin/users":                "/admin/users",
		"/admin/u%C5%BFers":                   "/admin/users",
		"/ADMIN/%75sers":                      "/ADMIN/users",
		"/a%2Fb%20c":                          "/a%2Fb c",
		"/a%20b":                              "/a+b",
		"/x%25/y":                             "/x%/y",
		"/caf%C3%A9":                          "/café",
		"/a;x/b;y":                            "/a;x/b",
		"/admin/%EF%BC%B5SERS%E3%80":          "/admin/USERS",
	} {
		if got := read(t, spelling); !slices.Contains(got, reading) || got[0] != spelling {
			t.Errorf("%s: %q lacks %q", spelling, got, reading)
		}
	}
}

func TestPathsThatAreRefused(t *testing.T) {
	for path, want := range map[string]error{
		"/a/../b": paths.ErrDotSegment, "/a/%2e%2e/b": paths.ErrDotSegment, "/a%2f..%2fb": paths.ErrDotSegment, "/a/%252e./b": paths.ErrDotSegment,
		"/a/..;x/b": paths.ErrDotSegment, "/a/.%3bx": paths.ErrDotSegment, "/a/%EF%BC%8E%EF%BC%8E/b": paths.ErrDotSegment, "/a/%e0%80%ae./b": paths.ErrDotSegment,
		"/a/..%20/b": paths.ErrDotSegment, "/a/.%0d./b": paths.ErrDotSegment, "/a%5c..%5cb": paths.ErrDotSegment, "/a/%E2%80%A5/b": paths.ErrDotSegment, "/.": paths.ErrDotSegment,
		"/a%00": paths.ErrNUL, "/a%2500b": paths.ErrNUL,
		"/%" + strings.Repeat("25", 40):                               paths.ErrTooMany,
		"/" + strings.Repeat("a", 9000) + "%2F%20;x":                  paths.ErrTooMany,
		"/" + strings.Repeat("%EF%B7%BA", 300):                        nil, // a character that decomposes into many, but into no ASCII
		"/a%2F%20b;c=%253b//d%255ce/%EF%BC%8F;x%3Fy%23z/%2525%20.;q/": paths.ErrTooMany,
	} {
		if _, err := paths.Read(nil, path); !errors.Is(err, want) {
			t.Errorf("%.60s: %v, want %v", path, err, want)
		}
	}
}

func TestPlainPathsHaveOneReading(t *testing.T) {
	for _, path := range []string{"/", "*", "/a", "/A-b_c~d/e.f/1:2@3", "/a/...b/.well-known/x", "/a=b&c,d!e$f'(g)*+h", "/100%"} {
		if got := read(t, path); len(got) != 1 || !paths.Plain(path) {
			t.Errorf("%s: %q", path, got)
		}
		if n := testing.AllocsPerRun(10, func() { paths.Plain(path) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
	for _, path := range []string{"/a/", "/a//b", "/a;b", "/a%20", "/a.", "/a./b", "/ü", "/a\\b"} {
		if paths.Plain(path) {
			t.Errorf("%s is plain", path)
		}
	}
}

// The reference decoders: each reads a path as a kind of server does, and reports whether such a server takes it.
var decoders = map[string]func(path string) (reading string, ok bool){
	"as it was sent": func(p string) (string, bool) { return p, true },
	"net/http: segments are decoded one by one": func(p string) (string, bool) {
		u, err := url.ParseRequestURI(p)
		if err != nil {
			return "", false
		}
		parts := strings.Split(u.EscapedPath(), "/")
		for i, s := range parts {
			if s, err = url.PathUnescape(s); err != nil {
				return "", false
			}
			parts[i] = strings.ReplaceAll(s, "/", "%2F")
		}
		return strings.Join(parts, "/"), true
	},
	"net/http: URL.Path": func(p string) (string, bool) {
		u, err := url.ParseRequestURI(p)
		if err != nil {
			return "", false
		}
		return u.Path, true
	},
	"WSGI": func(p string) (string, bool) { return unquote(p), true },
	"ASGI behind a proxy that decodes": func(p string) (string, bool) {
		return unquote(unquote(p)), true
	},
	"nginx": func(p string) (string, bool) { return merge(unquote(p)), true },
	"Express": func(p string) (string, bool) { // a route matches the bytes that were sent, without a slash at the end
		return strings.TrimSuffix(p, "/"), len(p) > 1
	},
	"Node with decodeURIComponent": func(p string) (string, bool) {
		s := unquote(p)
		return s, strings.ToValidUTF8(s, "") == s
	},
	"Tomcat": func(p string) (string, bool) { return merge(unquote(parameters(p))), true },
	"Jetty":  func(p string) (string, bool) { return unquote(parameters(p)), true },
	"Shiro": func(p string) (string, bool) {
		s := unquote(p)
		if i := strings.IndexByte(s, ';'); i >= 0 {
			s = s[:i]
		}
		return merge(s), true
	},
	"IIS": func(p string) (string, bool) { return merge(strings.ReplaceAll(unquote(unquote(p)), `\`, "/")), true },
}

// unquote decodes what is an escape and leaves the rest, as Python's unquote does.
func unquote(p string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			hi, lo := strings.IndexByte(digits, p[i+1]|0x20), strings.IndexByte(digits, p[i+2]|0x20)
			if strings.ContainsRune("0123456789abcdefABCDEF", rune(p[i+1])) && strings.ContainsRune("0123456789abcdefABCDEF", rune(p[i+2])) {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

func merge(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

func parameters(p string) string {
	parts := strings.Split(p, "/")
	for i, s := range parts {
		parts[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(parts, "/")
}

// TestReadingsHoldWhatServersRead holds 100,000 spellings against the reference decoders.
func TestReadingsHoldWhatServersRead(t *testing.T) {
	g := pathstest.New(1, "/admin/users", "/users/5/secret", "/a/b/c/d", "/skim")
	read, refused := 0, map[error]int{}
	for range 100_000 {
		path, _ := g.Next()
		readings, err := paths.Read(nil, path)
		if err != nil {
			refused[err]++
			continue
		}
		read++
		for _, r := range readings { // a slash within a segment is no separator, in whatever case it is encoded
			readings = append(readings, strings.ReplaceAll(r, "%2f", "%2F"))
		}
		for name, decode := range decoders {
			reading, ok := decode(path)
			if !ok || reading == "" || strings.Contains(strings.ToLower(reading), "%u") { // IIS decodes these
				continue
			}
			if !slices.Contains(readings, reading) && !slices.Contains(readings, strings.ReplaceAll(reading, "%2f", "%2F")) {
				t.Fatalf("%s: %q reads %q, which is not among %q", path, name, reading, readings)
			}
		}
	}
	if read < 50_000 || refused[paths.ErrTooMany] > 1000 {
		t.Errorf("only %d of 100,000 paths were read; refused: %v", read, refused)
	}
	t.Logf("%d were read, refused: %v", read, refused)
}

func FuzzRead(f *testing.F) {
	g := pathstest.New(2, "/admin/users")
	for range 50 {
		path, _ := g.Next()
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		readings, err := paths.Read(nil, path)
		if err != nil || path == "" {
			return
		}
		if readings[0] != path || len(readings) > paths.Max || paths.Plain(path) != (len(readings) == 1) && paths.Plain(path) {
			t.Fatalf("%q: %q", path, readings)
		}
		for _, r := range readings { // nothing new comes of a reading
			again, err := paths.Read(nil, r)
			if err != nil {
				t.Fatalf("%q: reading %q: %v", path, r, err)
			}
			for _, a := range again {
				if !slices.Contains(readings, a) {
					t.Fatalf("%q: %q is a reading of %q alone", path, a, r)
				}
			}
		}
	})
}

func BenchmarkPlain(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		paths.Plain("/shop-svc/products/1234/reviews.json")
	}
}

func BenchmarkRead(b *testing.B) {
	for name, path := range map[string]string{
		"slash":   "/registry-svc/node/http%3A%2F%2F10.0.0.1%3A8080",
		"space":   "/files/annual%20report.pdf",
		"many":    "/a%252Fb;c=%20d//e%EF%BC%8Ff/g",
		"hostile": "/%" + strings.Repeat("25", 40),
		"long":    "/" + strings.Repeat("%EF%BC%8F", 850) + ";x",
		"slashes": "/" + strings.Repeat("a//%2F;", 1000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var room [paths.Max]string
				_, _ = paths.Read(room[:0], path)
			}
		})
	}
}
