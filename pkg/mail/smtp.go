package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"time"
)

// sendTimeout bounds the delivery of one mail to the server.
const sendTimeout = 10 * time.Second

// SMTPConfig names a server.
type SMTPConfig struct {
	Address  string // host:port; on port 465 TLS from the start, on others STARTTLS
	User     string // no authentication where it is empty
	Password string
	// Insecure allows a server without TLS. Then a password is never sent, but to this machine.
	Insecure bool
	TLS      *tls.Config // default: the host's name, verified by the system's roots
}

// SMTP hands mails to a server.
type SMTP struct {
	cfg  SMTPConfig
	host string
	from Sender
}

// NewSMTP makes a mailer; it does not dial.
func NewSMTP(cfg SMTPConfig, from Sender) (*SMTP, error) {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("mail server: %q is not host:port", cfg.Address)
	}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return &SMTP{cfg: cfg, host: host, from: from}, nil
}

// Send delivers a mail to the server.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	b, err := encode(s.from, m, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	c, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("reach the mail server: %w", err)
	}
	if err := s.deliver(c, m.To, b); err != nil {
		return errors.Join(fmt.Errorf("hand over a mail: %w", err), c.Close())
	}
	if err := c.Quit(); err != nil {
		return fmt.Errorf("hand over a mail: %w", err)
	}
	return nil
}

// dial connects, with a deadline for all that follows, and secures the connection.
func (s *SMTP) dial(ctx context.Context) (*smtp.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_, port, _ := net.SplitHostPort(s.cfg.Address)
	if port == "465" {
		conn = tls.Client(conn, s.cfg.TLS)
	}
	c, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := s.secure(c, port == "465"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (s *SMTP) secure(c *smtp.Client, secured bool) error {
	if ok, _ := c.Extension("STARTTLS"); ok && !secured {
		if err := c.StartTLS(s.cfg.TLS); err != nil {
			return err
		}
		secured = true
	}
	if !secured && !s.cfg.Insecure {
		return errors.New("the server offers no TLS")
	}
	if s.cfg.User == "" {
		return nil
	}
	return c.Auth(smtp.PlainAuth("", s.cfg.User, s.cfg.Password, s.host))
}

func (s *SMTP) deliver(c *smtp.Client, to string, message []byte) error {
	if err := c.Mail(s.from.Address); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	return w.Close()
}
