// Package mail sends plain-text mails: by SMTP, or, for development, into a folder.
package mail

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// Message is a plain text for one address.
type Message struct {
	To      string
	Subject string
	Text    string
}

// Sender is who mails come from.
type Sender struct {
	Name    string
	Address string
}

// errHeader tells that a text cannot stand in a header without making another one.
var errHeader = errors.New("a mail's address or subject must be one line")

// encode writes a message as RFC 5322 has it.
func encode(from Sender, m Message, at time.Time) ([]byte, error) {
	if strings.ContainsAny(m.To+m.Subject+from.Name+from.Address, "\r\n\x00") {
		return nil, errHeader
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil {
		return nil, fmt.Errorf("read the address: %w", err)
	}
	_, host, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", (&mail.Address{Name: from.Name, Address: from.Address}).String()},
		{"To", to.String()},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Date", at.Format(time.RFC1123Z)},
		{"Message-ID", "<" + strings.ToLower(rand.Text()) + "@" + host + ">"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: nobody's absence answers it
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(w, strings.ReplaceAll(m.Text, "\n", "\r\n")); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
