package app

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"time"

	"micromesh/user/service"
)

// Config of the user service, from the environment. Times are Go durations.
type Config struct {
	DatabaseURL string `env:"MICRO_DATABASE_URL" required:"" secret:"" help:"postgres://user:password@host:port/database, or sqlite:<file>"`

	AdminSlug     string `env:"MICRO_ADMIN_SLUG" envDefault:"admin" help:"slug of the first admin"`
	AdminPassword string `env:"MICRO_ADMIN_PASSWORD" secret:"" help:"its password, for the first start; one is made up, and logged once, where none is set"`

	TokenExpiration  time.Duration `env:"MICRO_TOKEN_EXPIRATION" envDefault:"5m" help:"how long a token lives"`
	TokenAutoRefresh bool          `env:"MICRO_TOKEN_AUTO_REFRESH" help:"expired tokens are good while their session lives; the same in every process"`
	SessionLife      time.Duration `env:"MICRO_SESSION_LIFE" envDefault:"720h" help:"how long a session lives without a refresh"`
	KeyRotation      time.Duration `env:"MICRO_KEY_ROTATION" envDefault:"720h" help:"how often the key that signs tokens is replaced"`
	VerifyContacts   bool          `env:"MICRO_VERIFY_CONTACTS" help:"a contact needs a one-time code to be registered"`

	AppsOnDemand bool `env:"MICRO_APPS_ON_DEMAND" help:"an app that is named for the first time is created, by anyone; micro up has it on"`
	MinPassword  int  `env:"MICRO_MIN_PASSWORD" envDefault:"8" help:"the least bytes of a password: 1 to 1024; 0 is 8"`

	Test bool `env:"MICRO_TEST" help:"for test suites, on loopback alone: short passwords, one-time codes in answers, roles for contacts without a proof"`

	SMTPAddress  string `env:"MICRO_SMTP_ADDRESS" help:"HOST:PORT of the mail server; mails are written into MICRO_MAIL_DIR where none is set"`
	SMTPUser     string `env:"MICRO_SMTP_USER" help:"login there"`
	SMTPPassword string `env:"MICRO_SMTP_PASSWORD" secret:"" help:"its password"`
	SMTPInsecure bool   `env:"MICRO_SMTP_INSECURE" help:"allow a mail server without TLS"`
	MailFrom     string `env:"MICRO_MAIL_FROM" envDefault:"Micromesh <noreply@localhost>" help:"sender of mails"`
	MailDir      string `env:"MICRO_MAIL_DIR" envDefault:"mail" help:"folder for mails where there is no mail server"`
}

// AcceptExpired is how old an expired token may be: 0 where none is accepted.
func (c *Config) AcceptExpired() time.Duration {
	if c.TokenAutoRefresh {
		return c.SessionLife
	}
	return 0
}

// Validate tells everything that is wrong at once. The database's URL is checked when it is opened.
func (c *Config) Validate() error {
	var wrong []error
	if err := service.CheckAdminSlug(c.AdminSlug); err != nil {
		wrong = append(wrong, fmt.Errorf("MICRO_ADMIN_SLUG is %q; it %w", c.AdminSlug, err))
	}
	if c.MinPassword < 0 || c.MinPassword > service.MaxPassword {
		wrong = append(wrong, fmt.Errorf("MICRO_MIN_PASSWORD is %d; it must be 1 to %d, or 0 for %d", c.MinPassword, service.MaxPassword, service.MinPassword))
	}
	least := cmp.Or(c.MinPassword, service.MinPassword)
	if n := len(c.AdminPassword); n > 0 && (n < least && !c.Test || n > service.MaxPassword) {
		wrong = append(wrong, fmt.Errorf("MICRO_ADMIN_PASSWORD has %d bytes; it must have %d to %d", n, least, service.MaxPassword))
	}
	for _, v := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"MICRO_TOKEN_EXPIRATION", c.TokenExpiration, time.Second},
		{"MICRO_SESSION_LIFE", c.SessionLife, c.TokenExpiration},
		{"MICRO_KEY_ROTATION", c.KeyRotation, time.Hour},
	} {
		if v.value < v.least {
			wrong = append(wrong, fmt.Errorf("%s is %s; it must be at least %s", v.name, v.value, v.least))
		}
	}
	if _, err := mail.ParseAddress(c.MailFrom); err != nil {
		wrong = append(wrong, fmt.Errorf("MICRO_MAIL_FROM is %q; it must be an address, such as Mesh <noreply@example.com>", c.MailFrom))
	}
	if c.SMTPAddress != "" {
		if _, _, err := net.SplitHostPort(c.SMTPAddress); err != nil {
			wrong = append(wrong, fmt.Errorf("MICRO_SMTP_ADDRESS is %q; it must be host:port", c.SMTPAddress))
		}
	} else if c.MailDir == "" {
		wrong = append(wrong, errors.New("MICRO_MAIL_DIR must name a folder where MICRO_SMTP_ADDRESS names no server"))
	}
	return errors.Join(wrong...)
}

// domain is the part of the configuration that the domain wants.
func (c *Config) domain() service.Config {
	return service.Config{
		TokenLife: c.TokenExpiration, SessionLife: c.SessionLife, KeyLife: c.KeyRotation,
		AutoRefresh: c.TokenAutoRefresh, VerifyContacts: c.VerifyContacts, Test: c.Test,
		AppsOnDemand: c.AppsOnDemand, MinPassword: c.MinPassword,
	}
}
