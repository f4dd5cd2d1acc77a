package mail_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/mail"
)

var (
	from    = mail.Sender{Name: "Mäsh", Address: "mesh@x.example"}
	message = mail.Message{To: "joe@y.example", Subject: "Your código is 123456", Text: "Line one, with an ü.\n.\nLine three.\n"}
)

// check reads a mail and compares it with message.
func check(t *testing.T, raw string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	decoder := netmail.AddressParser{}
	sender, err := decoder.Parse(m.Header.Get("From"))
	if err != nil || sender.Name != from.Name || sender.Address != from.Address {
		t.Errorf("from %v, %v", sender, err)
	}
	if got := m.Header.Get("To"); got != "<joe@y.example>" {
		t.Errorf("to %s", got)
	}
	if got := m.Header.Get("Subject"); !strings.HasPrefix(got, "=?utf-8?q?Your_c=C3=B3digo") {
		t.Errorf("subject %s", got)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil || !strings.Contains(string(body), "with an =C3=BC.") || !strings.Contains(string(body), "Line three.") {
		t.Errorf("body %q, %v", body, err)
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mails")
	var log strings.Builder
	f, err := mail.NewFolder(dir, from, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	check(t, string(raw))
	if got := log.String(); !strings.Contains(got, filepath.Base(files[0])) || strings.Contains(got, "123456") || strings.Contains(got, "joe") {
		t.Errorf("log: %s", got)
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	f, err := mail.NewFolder(t.TempDir(), from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []mail.Message{
		{To: "joe@y.example\r\nBcc: all@y.example", Subject: "s"}, {To: "joe@y.example", Subject: "s\nX: y"}, {To: "joe, ann@y.example", Subject: "s"}, {To: "", Subject: "s"},
	} {
		if err := f.Send(t.Context(), m); err == nil {
			t.Errorf("%+v was sent", m)
		}
	}
}

// server is a mail server for one session.
type server struct {
	net.Listener
	tls  *tls.Config
	got  chan []string // the lines of the client
	mute bool          // accepts, and says nothing
}

func newServer(t *testing.T, s *server) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Listener, s.got = ln, make(chan []string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			close(s.got)
			return
		}
		defer conn.Close()
		if s.mute {
			_, _ = io.Copy(io.Discard, conn)
			close(s.got)
			return
		}
		s.got <- s.talk(conn)
	}()
	t.Cleanup(func() { ln.Close() })
	return s
}

func (s *server) talk(conn net.Conn) (lines []string) {
	in := bufio.NewScanner(conn)
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	say("220 x.example ESMTP")
	data := false
	for in.Scan() {
		line := in.Text()
		lines = append(lines, line)
		switch verb, _, _ := strings.Cut(line, " "); {
		case data && line == ".":
			data = false
			say("250 queued")
		case data:
		case verb == "EHLO" && s.tls != nil && len(lines) == 1:
			say("250-x.example\r\n250-STARTTLS\r\n250 AUTH PLAIN")
		case verb == "EHLO":
			say("250-x.example\r\n250 AUTH PLAIN")
		case verb == "STARTTLS":
			say("220 go")
			conn = tls.Server(conn, s.tls)
			in = bufio.NewScanner(conn)
		case verb == "AUTH":
			say("235 fine")
		case verb == "DATA":
			data = true
			say("354 go")
		case verb == "QUIT":
			say("221 bye")
			return lines
		default:
			say("250 fine")
		}
	}
	return lines
}

// certificate gives one for 127.0.0.1, and a client's configuration that trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

func TestSMTP(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	s := newServer(t, &server{tls: serverTLS})
	m, err := mail.NewSMTP(mail.SMTPConfig{Address: s.Addr().String(), User: "user", Password: "secret", TLS: clientTLS}, from)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	lines := <-s.got
	all := strings.Join(lines, "\r\n")
	if !strings.Contains(all, "MAIL FROM:<mesh@x.example>") || !strings.Contains(all, "RCPT TO:<joe@y.example>") || !strings.Contains(all, "AUTH PLAIN") {
		t.Errorf("the client said %q", lines)
	}
	_, raw, _ := strings.Cut(all, "DATA\r\n")
	check(t, raw)
}

func TestSMTPNeedsTLS(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		s := newServer(t, &server{})
		m, err := mail.NewSMTP(mail.SMTPConfig{Address: s.Addr().String(), Insecure: insecure}, from)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Send(t.Context(), message); (err == nil) != insecure {
			t.Errorf("insecure %v: %v", insecure, err)
		}
	}
}

func TestSMTPVerifiesTheServer(t *testing.T) {
	serverTLS, _ := certificate(t)
	s := newServer(t, &server{tls: serverTLS})
	m, err := mail.NewSMTP(mail.SMTPConfig{Address: s.Addr().String()}, from)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), message); err == nil {
		t.Error("a server with a certificate of nobody was trusted")
	}
}

func TestSMTPServerThatNeverAnswers(t *testing.T) {
	s := newServer(t, &server{mute: true})
	m, err := mail.NewSMTP(mail.SMTPConfig{Address: s.Addr().String()}, from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := m.Send(ctx, message); err == nil || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if _, err := mail.NewSMTP(mail.SMTPConfig{Address: "mail"}, from); err == nil {
		t.Error("an address without a port was taken")
	}
}
