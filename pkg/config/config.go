// Package config reads a service's settings from the environment, once, and tells everything that is wrong with them
// at once.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Validator is a configuration that knows what is wrong with it.
type Validator interface {
	// Validate gives all mistakes, joined.
	Validate() error
}

// Environ is the process's environment as a map.
func Environ() map[string]string {
	out := map[string]string{}
	for _, kv := range os.Environ() {
		if k, v, ok := strings.Cut(kv, "="); ok {
			out[k] = v
		}
	}
	return out
}

// Parse fills in the fields of each target from environment variables, as their `env` tags name them. It does not
// validate: settings may still be changed by flags. Errors of all targets are joined, one line each.
func Parse(environ map[string]string, targets ...any) error {
	var wrong []error
	for _, t := range targets {
		err := env.ParseWithOptions(t, env.Options{Environment: environ})
		if err == nil {
			continue
		}
		all, ok := errors.AsType[env.AggregateError](err)
		if !ok {
			wrong = append(wrong, err)
			continue
		}
		for _, e := range all.Errors {
			wrong = append(wrong, explain(e, t, environ))
		}
	}
	return errors.Join(wrong...)
}

// Validate validates all targets and joins what they say.
func Validate(targets ...Validator) error {
	var wrong []error
	for _, t := range targets {
		wrong = append(wrong, t.Validate())
	}
	return errors.Join(wrong...)
}

// Join joins what Parse said and what Validate said afterwards, without what the latter says of settings that could not be
// read.
func Join(malformed, invalid error) error {
	if malformed == nil || invalid == nil {
		return errors.Join(malformed, invalid)
	}
	said := map[string]bool{}
	for line := range strings.Lines(malformed.Error()) {
		name, _, _ := strings.Cut(line, " ")
		said[name] = true
	}
	for line := range strings.Lines(invalid.Error()) {
		line = strings.TrimSuffix(line, "\n")
		if name, _, _ := strings.Cut(line, " "); !said[name] {
			malformed = errors.Join(malformed, errors.New(line))
		}
	}
	return malformed
}

// explain names the variable, what it says, and what would be right.
func explain(err error, target any, environ map[string]string) error {
	p, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	field, ok := reflect.TypeOf(target).Elem().FieldByName(p.Name)
	name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
	if !ok || name == "" {
		return err
	}
	return fmt.Errorf("%s is %q; it must be %s", name, environ[name], expected(p.Type))
}

func expected(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "a duration, such as 30s or 5m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return "a whole number"
	}
	return "a " + t.String()
}
