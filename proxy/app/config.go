// Package app wires the proxy, so that `micro up`, its own process and tests run the same thing.
package app

// Config of the proxy, from the environment.
type Config struct {
	// DatabaseURL is "sqlite:<file>" or "postgres://user:password@host:port/database".
	DatabaseURL string `env:"MICRO_DATABASE_URL"`
}

// Validate tells everything that is wrong at once. The database's URL is checked when it is opened.
func (c *Config) Validate() error { return nil }
