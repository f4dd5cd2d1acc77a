package provision

import (
	"fmt"
	"net/url"
	"strings"
)

// postgres makes the superuser's password, a login for each service that has a database, and the script for both.
func (r *run) postgres() error {
	if _, err := r.keep(postgresFolder+"/password", newPassword); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(initHead)
	for _, s := range r.cfg.Services {
		if !s.Database {
			continue
		}
		raw, err := r.keep(s.Slug+"/database.url", func() string { return databaseURL(s.Slug, r.cfg.Postgres) })
		if err != nil {
			return err
		}
		u, err := url.Parse(raw)
		if err != nil || u.User == nil || len(u.Path) < 2 {
			return fmt.Errorf("%s is not postgres://login:password@host:port/database", r.path(s.Slug+"/database.url"))
		}
		password, _ := u.User.Password()
		b.WriteString(strings.NewReplacer(
			":login", identifier(u.User.Username()), ":'login'", literal(u.User.Username()), ":'password'", literal(password),
			":database", identifier(u.Path[1:]), ":'database'", literal(u.Path[1:]),
		).Replace(initService))
	}
	return r.write(postgresFolder+"/init.sql", []byte(b.String()))
}

func databaseURL(slug, host string) string {
	name := strings.ReplaceAll(slug, "-", "_")
	u := url.URL{Scheme: "postgres", User: url.UserPassword(name, newPassword()), Host: host, Path: "/" + name, RawQuery: "sslmode=disable"}
	return u.String()
}

const initHead = `-- A login and a database for each service, that no other service can connect to. Made by "micro secrets init", for
-- psql as superuser; it can be run again.
\set ON_ERROR_STOP on
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;
`

// What is not there yet is created by the statements that a query has printed: CREATE DATABASE has no IF NOT EXISTS.
const initService = `
SELECT 'CREATE ROLE :login' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'login') \gexec
ALTER ROLE :login LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT 'CREATE DATABASE :database OWNER :login' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :database FROM PUBLIC;
`

func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
