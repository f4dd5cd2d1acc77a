package provision

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	adminLogin = "admin" // of operators
	routeLogin = "route" // of NATS servers with each other
)

// login is a user of nats-server.
type login struct {
	name, hash string
	may, not   Permissions // what is not allowed is denied, and so is of that what not names
}

// nats makes the logins.
func (r *run) nats() error {
	if err := r.knownGuests(); err != nil {
		return err
	}
	old, err := r.read(natsFolder + "/users.conf")
	if err != nil {
		return fmt.Errorf("read logins: %w", err)
	}
	known := hashes(string(old))
	add := func(all []login, name, folder string, may, not Permissions) ([]login, error) {
		password, err := r.keep(folder+"/nats.password", newPassword)
		if err != nil {
			return nil, err
		}
		hash, err := hashOf(password, known[name])
		return append(all, login{name, hash, may, not}), err
	}
	logins, err := add(nil, adminLogin, adminFolder, Permissions{Publish: []string{">"}, Subscribe: []string{">"}}, Permissions{})
	if err != nil {
		return err
	}
	for _, s := range r.cfg.Services {
		may, not := s.Permissions(), Permissions{}
		if r.cfg.Guests != "" && s.Slug == bridge {
			others, denied := bringsIn()
			may.Publish, not.Publish = append(may.Publish, others...), denied
		}
		if logins, err = add(logins, s.Slug, s.Slug, may, not); err != nil {
			return err
		}
	}
	if err := r.write(natsFolder+"/users.conf", []byte(usersConf(logins, added(string(old), logins)))); err != nil {
		return err
	}
	return r.routes()
}

// aUser is a login in users.conf, as this package writes it.
var aUser = regexp.MustCompile(`(?m)^    \{user: "([^"]*)", (?s:.*?)^    \}\}\n`)

// added gives the logins of users.conf, as they are there, that this run knows nothing of: those of services that other runs
// were told of. Their owners may be away from this run's folder, and must not lose them.
func added(conf string, known []login) (logins []string) {
	for _, m := range aUser.FindAllStringSubmatch(conf, -1) {
		if !slices.ContainsFunc(known, func(l login) bool { return l.name == m[1] }) {
			logins = append(logins, m[0])
		}
	}
	return logins
}

// routes makes what the NATS servers of a cluster tell each other: a password, and where they are. Certificates don't do:
// each service has one of the same authority.
func (r *run) routes() error {
	password, err := r.keep(natsFolder+"/routes.password", newPassword)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# How the NATS servers of a cluster reach each other. Made by `micro secrets init`.\n")
	fmt.Fprintf(&b, "authorization {user: %q, password: %q}\nroutes: [\n", routeLogin, password)
	for _, h := range r.natsHosts() {
		u := url.URL{Scheme: "nats", User: url.UserPassword(routeLogin, password), Host: net.JoinHostPort(h, "6222")}
		fmt.Fprintf(&b, "  %q\n", u.String())
	}
	b.WriteString("]\n")
	return r.write(natsFolder+"/routes.conf", []byte(b.String()))
}

// natsHosts are the names of the NATS servers.
func (r *run) natsHosts() []string { return append([]string{"nats"}, r.cfg.NATSHosts...) }

// hashOf gives the hash of a password: the one that is known, where that is still right, so that the file doesn't change.
// The passwords are random: a slow hash would only cost time with each connection.
func hashOf(password, known string) (string, error) {
	if known != "" && bcrypt.CompareHashAndPassword([]byte(known), []byte(password)) == nil {
		return known, nil
	}
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(h), nil
}

var userLine = regexp.MustCompile(`user: "([^"]*)", password: "([^"]*)"`)

// hashes reads the hashes of users.conf, by login.
func hashes(conf string) map[string]string {
	known := map[string]string{}
	for _, m := range userLine.FindAllStringSubmatch(conf, -1) {
		known[m[1]] = m[2]
	}
	return known
}

// usersConf is for nats-server's configuration to include
// (https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization).
func usersConf(logins []login, added []string) string {
	var b strings.Builder
	b.WriteString("# Who may do what on NATS. Made by `micro secrets init`, which replaces what is changed here, and\n# keeps the logins of services that it was told of at other times: delete those lines to take one away.\nauthorization {\n  users: [\n")
	for _, l := range logins {
		fmt.Fprintf(&b, "    {user: %q, password: %q, permissions: {\n", l.name, l.hash)
		writePermissions(&b, l)
	}
	for _, l := range added {
		b.WriteString(l)
	}
	b.WriteString("  ]\n}\n")
	return b.String()
}

// writePermissions writes the rest of a login.
func writePermissions(b *strings.Builder, l login) {
	fmt.Fprintf(b, "      publish: {allow: [\n%s      ]%s}\n", list(l.may.Publish), deny(l.not.Publish))
	fmt.Fprintf(b, "      subscribe: {allow: [\n%s      ]%s}\n    }}\n", list(l.may.Subscribe), deny(l.not.Subscribe))
}

func deny(subjects []string) string {
	if len(subjects) == 0 {
		return ""
	}
	return ", deny: [\n" + list(subjects) + "      ]"
}

func list(subjects []string) string {
	var b strings.Builder
	for _, s := range subjects {
		fmt.Fprintf(&b, "        %q\n", s)
	}
	return b.String()
}
