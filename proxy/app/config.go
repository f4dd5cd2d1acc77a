// Package app wires the proxy, so that `micro up`, its own process and tests run the same thing.
package app

// Config of the proxy, from the environment.
type Config struct {
	DatabaseURL string `env:"MICRO_DATABASE_URL" required:"" secret:"" help:"postgres://user:password@host:port/database, or sqlite:<file>"`
}

// Validate tells everything that is wrong at once. The database's URL is checked when it is opened.
func (c *Config) Validate() error { return nil }
