package provision

import (
	"fmt"
	"net/url"
	"os"
	"strings"
)

// postgres makes the superuser's password, a login for each service that has a database, and the script for both. The script is for
// all services that have a folder, since other runs may have named others.
func (r *run) postgres() error {
	if _, err := r.keep(postgresFolder+"/password", newPassword); err != nil {
		return err
	}
	for _, s := range r.cfg.Services {
		if !s.Database {
			continue
		}
		if _, err := r.keep(s.Slug+"/"+databaseFile, func() string { return databaseURL(s.Slug, r.cfg.Postgres) }); err != nil {
			return err
		}
	}
	folders, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	var b strings.Builder
	b.WriteString(initHead)
	for _, f := range folders { // in the order of their names, so that a run without changes writes the same
		sql, err := r.initOf(f.Name() + "/" + databaseFile)
		if err != nil {
			return err
		}
		b.WriteString(sql)
	}
	return r.write(postgresFolder+"/init.sql", []byte(b.String()))
}

// initOf returns the part of the script for the database of one file. It is empty if there is no such file.
func (r *run) initOf(file string) (string, error) {
	raw, err := r.read(file)
	if err != nil || raw == nil {
		return "", err
	}
	u, err := url.Parse(strings.TrimSpace(string(raw)))
	if err != nil || u.User == nil || len(u.Path) < 2 {
		return "", fmt.Errorf("%s is not postgres://login:password@host:port/database", r.path(file))
	}
	password, _ := u.User.Password()
	return strings.NewReplacer(
		":login", identifier(u.User.Username()), ":'login'", literal(u.User.Username()), ":'password'", literal(password),
		":database", identifier(u.Path[1:]), ":'database'", literal(u.Path[1:]),
	).Replace(initService), nil
}

// databaseFile is in the folder of each service with a database.
const databaseFile = "database.url"

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
