package scaffold

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Files of the repository that a service is added to.
const (
	composeFile = "docker-compose.yml"
	haFile      = "deploy/compose/ha.yml"
	dockerFile  = "deploy/Dockerfile"
)

// The places in them where it is added. They are found by what is there, so that the files stay as people wrote them.
var (
	initCommand   = regexp.MustCompile(`(?m)^(    command: \[secrets, init, --dir, /secrets[^\]\n]*)\]`)
	initVolumes   = regexp.MustCompile(`(?m)(?:^      - [a-z0-9-]+:/secrets/[a-z0-9-]+\n)+`)
	reserved      = regexp.MustCompile(`(?m)^( +MICRO_RESERVED_ADDRESSES: \S*)$`)
	afterServices = regexp.MustCompile(`(?m)^(?:#[^\n]*\n)*networks:\n`)
	volumes       = regexp.MustCompile(`(?m)^volumes:\n(?:  [^\n]*\n?)+`)
	goPackages    = regexp.MustCompile(`(?m)^( +\./user [^\n]*)$`)
	secretFolders = regexp.MustCompile(`(?m)^( +secrets/user-svc [^\n]*)$`)
)

// edit is a text that changes step by step. Once a place isn't found, nothing more happens.
type edit struct {
	text string
	err  error
}

// at replaces the first place by what it becomes.
func (e *edit) at(place *regexp.Regexp, what string, becomes func(found string) string) {
	if e.err != nil {
		return
	}
	at := place.FindStringIndex(e.text)
	if at == nil {
		e.err = fmt.Errorf("there is no %s in it, as `micro new` knows it", what)
		return
	}
	e.text = e.text[:at[0]] + becomes(e.text[at[0]:at[1]]) + e.text[at[1]:]
}

func after(more string) func(string) string { return func(found string) string { return found + more } }
func before(more string) func(string) string {
	return func(found string) string { return more + found }
}

// compose adds the service to docker-compose.yml: its block, its volumes, and its secrets.
func (v view) compose(text string) (string, error) {
	known, err := composeServices(text)
	if err != nil {
		return "", err
	}
	if slices.Contains(known, v.Base) {
		return "", fmt.Errorf("it has a service %s already: choose another name", v.Base)
	}
	block, err := v.fill("compose-service.yml")
	if err != nil {
		return "", err
	}
	e := edit{text: text}
	named := "  " + v.Base + ":\n"
	if v.RPC() {
		e.at(initCommand, "command of init", v.addSecrets)
		e.at(initVolumes, "volumes of init", after(fmt.Sprintf("      - %s-secrets:/secrets/%s\n", v.Base, v.Slug)))
		e.at(reserved, "MICRO_RESERVED_ADDRESSES", after(","+v.Base+":9000"))
		named = fmt.Sprintf("  %s-secrets:\n", v.Base) + named
	}
	e.at(afterServices, "section networks", before(string(block)))
	e.at(volumes, "section volumes", after(named))
	if e.err != nil {
		return "", e.err
	}
	if known, err = composeServices(e.text); err != nil || !slices.Contains(known, v.Base) {
		return "", errors.Join(errors.New("it would not be valid any more"), err)
	}
	return e.text, nil
}

// highlyAvailable adds the service to what replaces parts of docker-compose.yml.
func (v view) highlyAvailable(text string) (string, error) {
	e := edit{text: text}
	if v.RPC() {
		e.at(initCommand, "command of init", v.addSecrets)
		e.at(reserved, "MICRO_RESERVED_ADDRESSES", after(","+v.Base+":9000"))
	}
	return e.text, e.err
}

func (v view) addSecrets(found string) string {
	return strings.TrimSuffix(found, "]") + ", --service, " + v.Slug + "]"
}

// docker adds the service's image.
func (v view) docker(text string) (string, error) {
	target, err := v.fill("docker-target")
	if err != nil {
		return "", err
	}
	e := edit{text: text}
	if v.HTTP == "" || v.HTTP == Go {
		e.at(goPackages, "list of packages", after(" ./"+v.Base))
	}
	if v.RPC() {
		e.at(secretFolders, "list of folders of secrets", after(" secrets/"+v.Slug))
	}
	return e.text + string(target), e.err
}

// composeServices lists the services of a compose file.
func composeServices(text string) ([]string, error) {
	var file struct {
		Services map[string]yaml.Node `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	var names []string
	for name := range file.Services {
		names = append(names, name)
	}
	return names, nil
}
