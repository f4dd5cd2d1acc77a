// Package provision makes what the processes of a mesh need before they can trust each other: a certificate authority and
// a certificate for each service, a login on NATS with permissions for just its subjects, a login and a database of its own
// on Postgres, and the key that seals what the database holds. All of it lies in one folder:
//
//	ca/ca.pem, ca/ca.key        the authority; its key signs, and can be kept elsewhere meanwhile
//	<service>/ca.pem            whom the service trusts
//	<service>/cert.pem, key.pem what it shows
//	<service>/nats.password     of its login on NATS, which is its slug
//	<service>/secret.key        seals what its database holds
//	<service>/database.url      where it has a database
//	nats/cert.pem, key.pem, ca.pem
//	nats/users.conf             logins and permissions, for nats-server's configuration to include
//	nats/routes.password        of the login of NATS servers with each other
//	nats/routes.conf            that login, and where they are, for the configuration of a cluster to include
//	postgres/password           of the superuser
//	postgres/init.sql           makes logins and databases of all services that have a folder, for psql; it can be run again
//	admin/nats.password         of the operators' login on NATS, which may do everything
//
// and where services in plain go-micro may join, those of a NATS server of their own:
//
//	nats-guests/                cert.pem, key.pem, ca.pem, users.conf of that server
//	guest/nats.url, ca.pem      what each of these services gets: the server with a login, and whom to trust
//	registry-svc/guests.url     the server with the registry's login
//
// A service needs its own folder alone. What nats, nats-guests and postgres read is readable for the group too, everything else for its
// owner alone. What is there is kept, so that a folder that was left half-written is completed by the next run.
package provision

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/events/proto/instances"
	"micromesh/pkg/events/proto/routes"
	"micromesh/pkg/kv"
)

// Service is what a service needs. Its processes share it.
type Service struct {
	Slug     string   // its login, and the DNS name of its certificate
	Database bool     // whether it has a database of its own
	Owns     []string // buckets that it writes
	Watches  []string // buckets that it reads, beside those that every service does
	Topics   []string // of events that it publishes
	Tails    bool     // whether it reads events
	Consumes []string // names of the consumers by which it works on events, which begin with its slug
	Replays  bool     // whether it reads dead letters, and gives them back
}

// Mesh gives the mesh's own services.
func Mesh() []Service {
	return []Service{
		{Slug: "user-svc", Database: true, Owns: []string{kv.Keys, kv.Permits, kv.Revocations, kv.Accounts}, Topics: []string{accounts.Topic}},
		{Slug: "registry-svc", Database: true, Owns: []string{kv.Instances}, Watches: []string{kv.Accounts}, Topics: []string{instances.Topic}},
		{Slug: "proxy-svc", Database: true, Owns: []string{kv.Routing}, Watches: []string{kv.Instances}, Topics: []string{routes.Topic}},
		{Slug: "gateway-svc", Watches: []string{kv.Routing}, Tails: true, Replays: true},
		{Slug: "forwarder-svc", Consumes: []string{"forwarder-svc"}},
	}
}

// Other gives what any other service with RPC needs: it publishes events under its slug as their topic, and consumes events
// under its slug as the consumer's name.
func Other(slug string) Service {
	return Service{Slug: slug, Database: true, Topics: []string{slug}, Consumes: []string{slug}}
}

// Config says what is to be made. Dir must be set.
type Config struct {
	Dir       string        // it is made where there is none
	Services  []Service     // Mesh where there are none
	NATSHosts []string      // further NATS servers of a cluster, beside nats
	Postgres  string        // host:port; default postgres:5432
	Guests    string        // host:port of a NATS server for services in plain go-micro; there is none where it is empty
	Life      time.Duration // of certificates; default 398 days, the most that clients of the web's authorities accept
}

const (
	defaultPostgres = "postgres:5432"
	defaultLife     = 398 * 24 * time.Hour
	leastLife       = time.Hour
	natsFolder      = "nats"
	postgresFolder  = "postgres"
	adminFolder     = "admin"
	authorityFolder = "ca"
)

var (
	slugs = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	hosts = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.:-]*[a-zA-Z0-9])?$`)
)

// Validate tells everything that is wrong at once. Names become parts of paths, configuration and SQL.
func (c *Config) Validate() error {
	full := *c
	full.complete()
	return full.check()
}

func (c *Config) complete() {
	if len(c.Services) == 0 {
		c.Services = Mesh()
	}
	c.Postgres = cmp.Or(c.Postgres, defaultPostgres)
	c.Life = cmp.Or(c.Life, defaultLife)
}

func (c *Config) check() error {
	var wrong []error
	if c.Dir == "" {
		wrong = append(wrong, errors.New("a folder must be named"))
	}
	seen := map[string]bool{authorityFolder: true, natsFolder: true, postgresFolder: true, adminFolder: true, guestsFolder: true, guestFolder: true}
	for _, s := range c.Services {
		if !slugs.MatchString(s.Slug) || len(s.Slug) > 50 {
			wrong = append(wrong, fmt.Errorf("%q is no name of a service: lower-case letters, digits and single dashes, at most 50", s.Slug))
		} else if seen[s.Slug] {
			wrong = append(wrong, fmt.Errorf("%q can't be the name of another service", s.Slug))
		}
		seen[s.Slug] = true
	}
	for _, h := range c.NATSHosts {
		if !hosts.MatchString(h) {
			wrong = append(wrong, fmt.Errorf("%q is no name of a host", h))
		}
	}
	if host, port, err := net.SplitHostPort(c.Postgres); err != nil || port == "" || !hosts.MatchString(host) {
		wrong = append(wrong, fmt.Errorf("postgres is at %q; it must be host:port", c.Postgres))
	}
	if host, port, err := net.SplitHostPort(c.Guests); c.Guests != "" && (err != nil || port == "" || !hosts.MatchString(host)) {
		wrong = append(wrong, fmt.Errorf("the NATS server of guests is at %q; it must be host:port", c.Guests))
	}
	if c.Life < leastLife {
		wrong = append(wrong, fmt.Errorf("certificates live for %v; it must be at least %v", c.Life, leastLife))
	}
	return errors.Join(wrong...)
}

// Certs makes the authority and the certificates, and tells which files it has written, relative to the folder.
func Certs(cfg Config) (written []string, err error) {
	return provision(cfg, (*run).certs)
}

// Secrets makes all that processes need, and tells which files it has written, relative to the folder.
func Secrets(cfg Config) (written []string, err error) {
	return provision(cfg, (*run).certs, (*run).secretKeys, (*run).nats, (*run).guests, (*run).postgres)
}

// Databases makes logins and databases alone, for programs that the mesh knows nothing of, and tells which files it has written. Of the
// configuration it needs Dir, Postgres and Services, which have a database each.
func Databases(cfg Config) (written []string, err error) {
	return provision(cfg, (*run).postgres)
}

func provision(cfg Config, steps ...func(*run) error) ([]string, error) {
	cfg.complete()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r, err := open(cfg)
	if err != nil {
		return nil, err
	}
	for _, step := range append(steps, (*run).hide) {
		if err := step(r); err != nil {
			return r.written, errors.Join(err, r.close())
		}
	}
	return r.written, r.close()
}

// hide keeps the folder out of the repository that it may lie in.
func (r *run) hide() error { return r.write(".gitignore", []byte("*\n")) }

// lostKey fails if a service's secret key is missing though it was made: its database belongs to it. The login was made after it.
func (r *run) lostKey(slug string) error {
	key, err := r.read(slug + "/secret.key")
	if err != nil || key != nil {
		return err
	}
	login, err := r.read(slug + "/nats.password")
	if err != nil || login == nil {
		return err
	}
	return fmt.Errorf("%s is missing or empty, though it was made: restore it from a backup. If it is lost, delete %s as well, and run this again: new ones are made, and %s says what else to do",
		r.path(slug+"/secret.key"), r.path(slug+"/nats.password"), slug)
}

// secretKeys makes a key for each service: no service can open what another has sealed.
func (r *run) secretKeys() error {
	for _, s := range r.cfg.Services {
		if err := r.lostKey(s.Slug); err != nil {
			return err
		}
		if _, err := r.keep(s.Slug+"/secret.key", newSecretKey); err != nil {
			return err
		}
	}
	return nil
}
