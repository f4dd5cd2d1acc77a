// Package app wires the forwarder, so that its own process and tests run the same thing.
package app

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"micromesh/forwarder/service"
)

// What takes events, as MICRO_FORWARD_TARGET has it.
const (
	mixpanel    = "mixpanel"
	cloudEvents = "cloudevents"
)

// Config of the forwarder, from the environment.
type Config struct {
	Target   string        `env:"MICRO_FORWARD_TARGET" required:"" help:"mixpanel (Mixpanel's import) or cloudevents (any URL that takes CloudEvents)"`
	URL      string        `env:"MICRO_FORWARD_URL" help:"where events go: the base URL of mixpanel's API, https://api.mixpanel.com where none is set, or the whole URL for cloudevents"`
	Topics   []string      `env:"MICRO_FORWARD_TOPICS" help:"topics whose events are sent, with commas between; all where none is set"`
	Project  string        `env:"MICRO_FORWARD_PROJECT" help:"mixpanel: id of the project"`
	User     string        `env:"MICRO_FORWARD_USER" help:"mixpanel: the service account"`
	Secret   string        `env:"MICRO_FORWARD_SECRET" secret:"" help:"mixpanel: its secret"`
	Token    string        `env:"MICRO_FORWARD_TOKEN" secret:"" help:"mixpanel: the project's token, in place of a service account; cloudevents: a bearer token"`
	Single   bool          `env:"MICRO_FORWARD_SINGLE" help:"cloudevents: each event in a request of its own"`
	Gzip     bool          `env:"MICRO_FORWARD_GZIP" help:"compress what is sent"`
	Batch    int           `env:"MICRO_FORWARD_BATCH" envDefault:"500" help:"events that are sent at once, 1 to 2000"`
	Wait     time.Duration `env:"MICRO_FORWARD_WAIT" envDefault:"1s" help:"how long fewer events wait for more"`
	Timeout  time.Duration `env:"MICRO_FORWARD_TIMEOUT" envDefault:"30s" help:"for a request to the target"`
	MaxRetry time.Duration `env:"MICRO_FORWARD_MAX_RETRY" envDefault:"30s" help:"the longest wait between tries, unless the target asks for more; the first is 100ms, or this where it is shorter"`
}

var topicNames = regexp.MustCompile(`^[a-z0-9_-]+$`)

// Validate tells everything that is wrong at once.
func (c *Config) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	switch c.Target {
	case mixpanel:
		wrong = append(wrong, c.mixpanelLogin())
		if c.Single {
			add("MICRO_FORWARD_SINGLE is for cloudevents; it must not be set for mixpanel")
		}
	case cloudEvents:
		if c.URL == "" {
			add("MICRO_FORWARD_URL is not set; it must be where cloudevents go, such as https://collector.example.com/events")
		}
		if c.Project != "" || c.User != "" || c.Secret != "" {
			add("MICRO_FORWARD_PROJECT, MICRO_FORWARD_USER and MICRO_FORWARD_SECRET are for mixpanel; none must be set for cloudevents")
		}
	default:
		add("MICRO_FORWARD_TARGET is %q; it must be mixpanel or cloudevents", c.Target)
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https")) {
		add("MICRO_FORWARD_URL must be a URL such as https://collector.example.com/events, without a login")
	} else if err == nil && c.Target == mixpanel && u.RawQuery != "" {
		add("MICRO_FORWARD_URL must be a base URL without a query for mixpanel, such as https://api-eu.mixpanel.com")
	}
	for _, t := range c.Topics {
		if !topicNames.MatchString(t) {
			add("MICRO_FORWARD_TOPICS holds %q; topics are names such as accounts,basket-svc", t)
		}
	}
	if most, _ := (service.Mixpanel{}).Limits(); c.Batch < 1 || c.Batch > most {
		add("MICRO_FORWARD_BATCH is %d; it must be 1 to %d", c.Batch, most)
	}
	for _, d := range []struct {
		name        string
		value       time.Duration
		least, most time.Duration
	}{
		{"MICRO_FORWARD_WAIT", c.Wait, time.Millisecond, time.Minute},
		{"MICRO_FORWARD_TIMEOUT", c.Timeout, 100 * time.Millisecond, 10 * time.Minute},
		{"MICRO_FORWARD_MAX_RETRY", c.MaxRetry, time.Millisecond, time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			add("%s is %s; it must be %s to %s", d.name, d.value, d.least, d.most)
		}
	}
	return errors.Join(wrong...)
}

// mixpanelLogin tells what is wrong with what mixpanel is shown: a service account and its project, or the project's token.
func (c *Config) mixpanelLogin() error {
	account := c.User != "" || c.Secret != ""
	switch {
	case account && c.Token != "":
		return errors.New("MICRO_FORWARD_TOKEN must not be set beside MICRO_FORWARD_USER and MICRO_FORWARD_SECRET")
	case !account && c.Token == "":
		return errors.New("MICRO_FORWARD_USER, MICRO_FORWARD_SECRET and MICRO_FORWARD_PROJECT must be set for mixpanel, or MICRO_FORWARD_TOKEN alone")
	case account && (c.User == "" || c.Secret == "" || c.Project == ""):
		return errors.New("MICRO_FORWARD_USER, MICRO_FORWARD_SECRET and MICRO_FORWARD_PROJECT must be set all, or none")
	}
	return nil
}
