package provision

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"micromesh/pkg/kv"
)

const (
	guestsFolder = "nats-guests" // of the guests' NATS server
	guestFolder  = "guest"       // of what each guest gets
	guestLogin   = "guest"
	bridge       = "registry-svc" // which brings guests in
	caller       = "gateway-svc"  // which calls them
	guestURL     = "guests.url"
	bridgeURL    = bridge + "/" + guestURL
	callerURL    = caller + "/" + guestURL
)

// Subjects of go-micro's NATS registry (registry/stock).
const (
	askedOn = "micro.nats.query"
	toldOn  = "micro.nats.watch"
)

// provenOn is the beginning of the subjects by which a program proves that it has the login of an account (registry/stock).
const provenOn = "mesh.login."

// guestOf is a login on the guests' NATS server.
type guestOf struct {
	name, file, scheme string
	may, not           Permissions
}

// named are the logins of programs in plain go-micro that have the name of an account: one for each service that is not the mesh's own, of
// this run or an earlier one. Beside its name, such a program may speak under the topics that begin with it.
func (r *run) named(inboxes []string) (out []guestOf) {
	slugs := map[string]bool{}
	for _, s := range r.cfg.Services {
		slugs[s.Slug] = true
	}
	found, _ := filepath.Glob(r.path("*/" + guestURL)) // the pattern is well-formed
	for _, file := range found {
		slugs[filepath.Base(filepath.Dir(file))] = true
	}
	for _, s := range Mesh() {
		delete(slugs, s.Slug)
	}
	for _, slug := range slices.Sorted(maps.Keys(slugs)) {
		out = append(out, guestOf{
			slug, slug + "/" + guestURL, "nats",
			Permissions{Publish: []string{askedOn, toldOn, "_INBOX.>", inboxOf(caller), slug + ".>", provenOn + slug + ".*"}, Subscribe: []string{">"}},
			Permissions{Subscribe: append(slices.Clone(inboxes), provenOn+">")},
		})
	}
	return out
}

// inboxOf are the subjects on which a service of the mesh is answered.
func inboxOf(service string) string { return "_INBOX_" + service + ".>" }

// guests makes what a NATS server needs that services in plain go-micro find each other by, their login on it, and the registry's.
//
// It is a server of its own: programs that are set up by variables alone can show no certificate, which the mesh's own server asks
// everybody for. So nothing of the mesh is there to be read or written, whatever a guest may do.
func (r *run) guests() error {
	if r.cfg.Guests == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(r.cfg.Guests)
	if err != nil {
		return fmt.Errorf("read address of the guests' NATS server: %w", err)
	}
	if err := r.cert(guestsFolder, host, "localhost", "127.0.0.1"); err != nil {
		return err
	}
	old, err := r.read(guestsFolder + "/users.conf")
	if err != nil {
		return fmt.Errorf("read logins: %w", err)
	}
	known := hashes(string(old))
	inboxes := []string{inboxOf(bridge), inboxOf(caller)}
	var logins []login
	for _, l := range append([]guestOf{
		{guestLogin, guestFolder + "/nats.url", "nats", Permissions{Publish: []string{">"}, Subscribe: []string{">"}}, Permissions{Publish: []string{provenOn + ">"}, Subscribe: append(slices.Clone(inboxes), provenOn+">")}},
		{bridge, bridgeURL, "tls", Permissions{Publish: []string{askedOn, toldOn, "_INBOX.>"}, Subscribe: []string{askedOn, toldOn, inboxOf(bridge), provenOn + "*.*"}}, Permissions{}},
		{caller, callerURL, "tls", Permissions{Publish: []string{"_INBOX.*"}, Subscribe: []string{inboxOf(caller)}}, Permissions{}},
	}, r.named(inboxes)...) {
		password, err := r.natsURL(l.file, l.scheme, l.name)
		if err != nil {
			return err
		}
		hash, err := hashOf(password, known[l.name])
		if err != nil {
			return err
		}
		logins = append(logins, login{l.name, hash, l.may, l.not})
	}
	if err := r.write(guestFolder+"/ca.pem", r.authority.pem); err != nil {
		return err
	}
	if err := r.open(logins); err != nil {
		return err
	}
	return r.write(guestsFolder+"/users.conf", []byte(usersConf(logins, nil)))
}

// open makes the same logins with one more, for programs that connect without any: whatever reaches the server is a guest. deploy/nats/guests-open.conf
// includes it in place of users.conf.
//
// That login is a key that nobody has: NATS takes no hashed password for it, and warns of a plain one.
func (r *run) open(logins []login) error {
	const file = guestsFolder + "/open.conf"
	old, err := r.read(file)
	if err != nil {
		return fmt.Errorf("read logins: %w", err)
	}
	var key string
	if m := nobodysKey.FindSubmatch(old); m != nil {
		key = string(m[1])
	} else {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return fmt.Errorf("make key: %w", err)
		}
		defer pair.Wipe()
		if key, err = pair.PublicKey(); err != nil {
			return fmt.Errorf("make key: %w", err)
		}
	}
	guest := logins[slices.IndexFunc(logins, func(l login) bool { return l.name == guestLogin })]
	var nobody strings.Builder
	fmt.Fprintf(&nobody, "    {nkey: %q, permissions: {\n", key)
	writePermissions(&nobody, guest)
	return r.write(file, []byte(fmt.Sprintf("no_auth_user: %q\n", key)+usersConf(logins, []string{nobody.String()})))
}

// nobodysKey finds the key in open.conf.
var nobodysKey = regexp.MustCompile(`no_auth_user: "(U[A-Z0-9]+)"`)

// knownGuests takes up the guests' NATS server that another run was told of: one that is told of none must not take it away.
func (r *run) knownGuests() error {
	if r.cfg.Guests != "" {
		return nil
	}
	raw, err := r.read(guestFolder + "/nats.url")
	if err != nil || len(raw) == 0 {
		return err
	}
	u, err := url.Parse(strings.TrimSpace(string(raw)))
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is not nats://%s:password@host:port", r.path(guestFolder+"/nats.url"), guestLogin)
	}
	r.cfg.Guests = u.Host
	return nil
}

// natsURL keeps a URL with a login on the guests' NATS server, and gives the login's password. go-micro knows the scheme nats alone,
// by which a client speaks TLS where the server does.
func (r *run) natsURL(file, scheme, name string) (password string, err error) {
	raw, err := r.keep(file, func() string {
		u := url.URL{Scheme: scheme, User: url.UserPassword(name, newPassword()), Host: r.cfg.Guests}
		return u.String()
	})
	if err != nil {
		return "", err
	}
	u, err := url.Parse(raw)
	if err != nil || u.User.Username() != name {
		return "", fmt.Errorf("%s is not %s://%s:password@host:port", r.path(file), scheme, name)
	}
	password, _ = u.User.Password()
	return password, nil
}

// bringsIn is what it takes to put guests into discovery: under any name but those of the mesh's own services.
func bringsIn() (allowed, denied []string) {
	for _, s := range Mesh() {
		if s.Slug != bridge {
			denied = append(denied, "$KV."+kv.Nodes+"."+ownNodes(s.Slug))
		}
	}
	return []string{"$KV." + kv.Nodes + ".*.*"}, denied
}
