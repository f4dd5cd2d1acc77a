package app

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	sdk "micromesh/sdk/go"
)

// Help is what --help prints.
const Help = `basic is a service with pets, behind the gateway of a mesh. "basic healthcheck" tells by its exit code whether one that
runs with the same settings answers. Its settings are in the environment:

  MICRO_SERVER        the gateway's URL, also as OB_SERVER_URL        (` + sdk.DefaultServer + `)
  MICRO_SELF_URL      where the gateway reaches this service, also as
                      OB_SELF_URL; its port is listened on            (127.0.0.1 and a free port)
  BASIC_DATABASE_URL  sqlite:<file>, or postgres://user:password@host/database
                                                                      (sqlite:basic.db)
  BASIC_DATA          a folder for the account's credentials: keep it (.)
  BASIC_ORIGINS       origins whose pages may call from a browser, with
                      commas between, such as https://a.example       (none)
`

// Config of the service.
type Config struct {
	ServerURL   string
	SelfURL     string // empty is 127.0.0.1 and a free port
	DatabaseURL string
	Data        string
	Origins     []string
}

// Parse reads the settings, and tells everything that is wrong with them at once.
func Parse(getenv func(string) string) (Config, error) {
	c := Config{
		ServerURL:   cmp.Or(getenv("MICRO_SERVER"), getenv("OB_SERVER_URL"), sdk.DefaultServer),
		SelfURL:     cmp.Or(getenv("MICRO_SELF_URL"), getenv("OB_SELF_URL")),
		DatabaseURL: cmp.Or(getenv("BASIC_DATABASE_URL"), "sqlite:basic.db"),
		Data:        cmp.Or(getenv("BASIC_DATA"), "."),
	}
	for origin := range strings.SplitSeq(getenv("BASIC_ORIGINS"), ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			c.Origins = append(c.Origins, origin)
		}
	}
	return c, c.Validate()
}

// Validate tells everything that is wrong at once.
func (c Config) Validate() error {
	wrong := []error{checkURL("MICRO_SERVER", c.ServerURL)}
	if c.SelfURL != "" {
		wrong = append(wrong, checkURL("MICRO_SELF_URL", c.SelfURL))
	}
	// What it says is not repeated: it may hold a password.
	if scheme, rest, ok := strings.Cut(c.DatabaseURL, ":"); !ok || rest == "" || (scheme != "sqlite" && scheme != "postgres" && scheme != "postgresql") {
		wrong = append(wrong, errors.New("BASIC_DATABASE_URL must be sqlite:<file> or postgres://user:password@host/database"))
	}
	if fi, err := os.Stat(c.Data); err != nil || !fi.IsDir() {
		wrong = append(wrong, fmt.Errorf("BASIC_DATA is %q; it must be a folder that exists", c.Data))
	}
	for _, o := range c.Origins {
		if o != "*" {
			wrong = append(wrong, checkOrigin(o))
		}
	}
	return errors.Join(wrong...)
}

func checkOrigin(o string) error {
	if u, err := url.Parse(o); err != nil || u.Host == "" || u.Path != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("BASIC_ORIGINS holds %q; an origin is scheme://host[:port], such as https://app.example.com", o)
	}
	return nil
}

func checkURL(name, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%s is %q; it must be a URL, such as http://127.0.0.1:8080", name, raw)
	}
	return nil
}
