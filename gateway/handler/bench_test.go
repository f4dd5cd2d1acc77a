package handler_test

import (
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkDispatch sends a plain GET through a gateway with routes, over one connection. Neither client nor upstream allocates.
func BenchmarkDispatch(b *testing.B) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	upstream := "http://" + ln.Addr().String()
	for name, file := range map[string]string{
		"open":    "version: 1\nroutes:\n  - {path: \"/open/{id}\", proxy_upstream: \"" + upstream + "\"}\n",
		"guarded": "version: 1\nroutes:\n  - {path: \"/open/{id}\", proxy_upstream: \"" + upstream + "\"}\n  - {path: \"/closed/*\", auth_required: true, proxy_upstream: \"" + upstream + "\"}\n",
	} {
		b.Run(name, func(b *testing.B) {
			c, err := net.Dial("tcp", gatewayBy(b, &keys{public: &key.PublicKey}, file, nil))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			request := []byte("GET /open/1234 HTTP/1.1\r\nHost: mesh.test\r\n\r\n")
			buf := make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				for n := 0; !strings.HasSuffix(string(buf[:n]), "\r\n\r\nok"); {
					m, err := c.Read(buf[n:])
					if err != nil {
						b.Fatal(err)
					}
					n += m
				}
			}
		})
	}
}
