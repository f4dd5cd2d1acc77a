package sdk

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DefaultServer is where `micro up` listens.
const DefaultServer = "http://127.0.0.1:8080"

// Config of a service. Only Slug must be set.
type Config struct {
	// Slug is the service's name in the mesh: its account's slug, and the first segment of its paths.
	Slug string
	// Name is for people to read; the slug where it is empty.
	Name string
	// ServerURL is the gateway's; else MICRO_SERVER or OB_SERVER_URL, else DefaultServer.
	ServerURL string
	// SelfURL is where the gateway reaches this service; else MICRO_SELF_URL or OB_SELF_URL, else 127.0.0.1 and the
	// port that Run listens on.
	SelfURL string
	// Listen is the host:port that Run listens on; else the port of SelfURL on every address, else a free port of 127.0.0.1.
	Listen string
	// Credentials is the file of the account's password, made at the first start; "<slug>.credentials.json" in the
	// working folder where it is empty. Keep it as you keep a database: without it the account is lost.
	Credentials string
	// HealthPath is asked by the mesh to see how the service is; where it is empty, that the port takes connections is
	// enough.
	HealthPath string
	// Logger tells what happens; slog's default where it is nil.
	Logger *slog.Logger
	// Client makes the requests to the mesh; one with a time-out of 10 s where it is nil.
	Client *http.Client
}

var slugs = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// complete fills in what is left out, and tells everything that is wrong at once.
func (c *Config) complete() error {
	c.ServerURL = strings.TrimSuffix(first(c.ServerURL, os.Getenv("MICRO_SERVER"), os.Getenv("OB_SERVER_URL"), DefaultServer), "/")
	c.SelfURL = strings.TrimSuffix(first(c.SelfURL, os.Getenv("MICRO_SELF_URL"), os.Getenv("OB_SELF_URL")), "/")
	c.Name = first(c.Name, c.Slug)
	c.Credentials = first(c.Credentials, c.Slug+".credentials.json")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
	}
	var wrong []error
	if len(c.Slug) < 2 || len(c.Slug) > 63 || !slugs.MatchString(c.Slug) {
		wrong = append(wrong, fmt.Errorf("slug %q: it must be 2 to 63 of a-z and 0-9, in parts joined by single hyphens, such as basic-svc", c.Slug))
	}
	wrong = append(wrong, checkURL("server URL", c.ServerURL))
	if c.SelfURL != "" {
		wrong = append(wrong, checkURL("self URL", c.SelfURL))
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			wrong = append(wrong, fmt.Errorf("listen %q: it must be host:port", c.Listen))
		}
	}
	if c.HealthPath != "" && !strings.HasPrefix(c.HealthPath, "/") {
		wrong = append(wrong, fmt.Errorf("health path %q: it must begin with a slash", c.HealthPath))
	}
	if fi, err := os.Stat(filepath.Dir(c.Credentials)); err != nil || !fi.IsDir() {
		wrong = append(wrong, fmt.Errorf("credentials %q: its folder does not exist", c.Credentials))
	}
	return errors.Join(wrong...)
}

func checkURL(name, raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("%s %q: it must be a URL such as http://127.0.0.1:8080", name, raw)
	}
	return nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
