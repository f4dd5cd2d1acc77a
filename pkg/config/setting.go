package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Setting is a field of a configuration, as its tags describe it: `env` names the variable, `envDefault` what it is
// otherwise, `help` what it is for. A field with `required` must be set. One with `secret` is not shown, and may lie in a
// file that NAME_FILE names.
type Setting struct {
	Env, Default, Help string
	Required, Secret   bool
	Bool               bool
}

// Flag is the setting's name on the command line: MICRO_DATABASE_URL is database-url.
func (s Setting) Flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.Env, "MICRO_")), "_", "-")
}

// Settings gives the settings of configurations, which are pointers to structs, in the order of their fields; one that
// several have comes once.
func Settings(targets ...any) []Setting {
	var all []Setting
	for _, t := range targets {
		for f := range reflect.TypeOf(t).Elem().Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
			if name == "" || slices.ContainsFunc(all, func(s Setting) bool { return s.Env == name }) {
				continue
			}
			_, required := f.Tag.Lookup("required")
			_, secret := f.Tag.Lookup("secret")
			all = append(all, Setting{
				Env: name, Default: defaultOf(f), Help: f.Tag.Get("help"), Required: required, Secret: secret, Bool: f.Type.Kind() == reflect.Bool,
			})
		}
	}
	return all
}

func defaultOf(f reflect.StructField) string {
	v := f.Tag.Get("envDefault")
	if v == "" && f.Type.Kind() == reflect.Bool {
		return "false"
	}
	if d, err := time.ParseDuration(v); err == nil && f.Type == reflect.TypeFor[time.Duration]() {
		return d.String()
	}
	return v
}

// Format gives the environment that Parse reads as what configurations hold: the reverse of Parse.
func Format(targets ...any) map[string]string {
	environ := map[string]string{}
	for _, t := range targets {
		v := reflect.ValueOf(t).Elem()
		for f, value := range v.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
			if name == "" || value.IsZero() && f.Tag.Get("envDefault") == "" {
				continue
			}
			if list, ok := value.Interface().([]string); ok {
				environ[name] = strings.Join(list, ",")
				continue
			}
			environ[name] = fmt.Sprint(value.Interface())
		}
	}
	return environ
}

// Resolve gives an environment in which secrets that lie in files are settings as any other, and tells all that is
// missing or can't be read.
func Resolve(environ map[string]string, settings []Setting) (map[string]string, error) {
	out := make(map[string]string, len(environ))
	for k, v := range environ {
		out[k] = v
	}
	var wrong []error
	for _, s := range settings {
		file := environ[s.Env+"_FILE"]
		switch {
		case !s.Secret || file == "":
		case environ[s.Env] != "":
			wrong = append(wrong, fmt.Errorf("%s and %s_FILE are both set; one of them must be", s.Env, s.Env))
		default:
			b, err := os.ReadFile(file)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("%s_FILE: %w", s.Env, err))
				continue // it isn't missing as well
			}
			out[s.Env] = strings.TrimRight(string(b), "\r\n")
		}
		switch {
		case s.Required && out[s.Env] == "" && file != "" && s.Secret:
			wrong = append(wrong, fmt.Errorf("%s is not set, since %s, which %s_FILE names, is empty; it must be %s", s.Env, file, s.Env, s.Help))
		case s.Required && out[s.Env] == "":
			wrong = append(wrong, fmt.Errorf("%s is not set; it must be %s", s.Env, s.Help))
		}
	}
	return out, errors.Join(wrong...)
}
