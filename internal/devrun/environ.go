package devrun

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"micromesh/pkg/atomicfile"
)

// stateDir is where in its folder a service that runs so keeps what it keeps: its database, its password, its key.
const stateDir = ".micro"

// State gives the folder in which the service keeps what it keeps, which no repository takes up. It is made where there is none.
func (p *Program) State() (string, error) {
	state := filepath.Join(p.Dir, stateDir)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", fmt.Errorf("make folder of the service's data: %w", err)
	}
	return state, create(filepath.Join(state, ".gitignore"), "*\n")
}

// create writes a file that isn't there yet.
func create(file, content string) error {
	if err := atomicfile.Create(file, []byte(content)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// natsFile is what `micro up` writes into its data folder: where services join over NATS, with their login.
const natsFile = "nats.url"

// Environ gives the environment of the service beside a mesh, whose data lies in one of some folders and whose gateway is at a URL.
// What environ says already counts.
//
// Errors: that no mesh was found, with where it was looked for.
func (p *Program) Environ(environ map[string]string, data []string, gateway string) ([]string, error) {
	all := map[string]string{"MICRO_SERVER": gateway}
	if p.RPC {
		state, err := p.State()
		if err != nil {
			return nil, err
		}
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		keyFile := filepath.Join(state, "secret.key")
		if err := create(keyFile, base64.StdEncoding.EncodeToString(key)+"\n"); err != nil {
			return nil, err
		}
		maps.Copy(all, map[string]string{
			"MICRO_DATABASE_URL": "sqlite:" + filepath.Join(state, p.Name+".db"), "MICRO_SECRET_KEY_FILE": keyFile,
			"MICRO_HEALTH_ADDRESS": "off", "MICRO_LOG_FORMAT": "text",
		})
		if environ["MICRO_REGISTRY_ADDRESS"] == "" {
			login, err := natsLogin(data)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, login)
		}
	}
	for name := range environ { // which has a setting either itself or in a file
		delete(all, name+"_FILE")
		delete(all, strings.TrimSuffix(name, "_FILE"))
	}
	maps.Copy(all, environ)
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+"="+all[name])
	}
	return out, nil
}

// GatewayFile is what `micro up` writes into its data folder once it answers: the gateway's URL.
const GatewayFile = "gateway.url"

// Gateway reads where the gateway is of the mesh whose data lies in one of some folders, the first that knows. It is empty where none does.
func Gateway(data []string) string {
	for _, dir := range data {
		if b, err := os.ReadFile(filepath.Join(dir, GatewayFile)); err == nil {
			return strings.TrimSpace(string(b))
		}
	}
	return ""
}

// natsLogin reads where services join, from the first of some folders that knows.
func natsLogin(data []string) (map[string]string, error) {
	for _, dir := range data {
		b, err := os.ReadFile(filepath.Join(dir, natsFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read where the mesh is: %w", err)
		}
		u, err := url.Parse(strings.TrimSpace(string(b)))
		if err != nil || u.Host == "" || u.User == nil {
			return nil, fmt.Errorf("%s is not nats://login:password@host:port: start the mesh anew with `micro up`", filepath.Join(dir, natsFile))
		}
		password, _ := u.User.Password()
		return map[string]string{"MICRO_REGISTRY_ADDRESS": u.Scheme + "://" + u.Host, "MICRO_NATS_USER": u.User.Username(), "MICRO_NATS_PASSWORD": password}, nil
	}
	return nil, fmt.Errorf("no mesh was found: there is no %s in %s. Start one with `micro up`, and name the folder of its data with --data", natsFile, strings.Join(data, " or "))
}
