package scaffold

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"path"
	"strconv"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// part is a file of a service: a template, and where its text goes below the service's folder; with a slash in front, below
// the module's root.
type part struct {
	template, file string
}

// parts gives the files of a service.
func (v view) parts() []part {
	switch v.HTTP {
	case Go:
		return v.common("http-go", "main.go", "app/app.go", "app/config.go", "handler/handler.go", "handler/handler_test.go", "service/greeting.go", "service/greeting_test.go")
	case Python:
		return v.common("http-python", "main.py", "test_main.py")
	case Node:
		return v.common("http-node", "main.mjs", "main.test.mjs")
	}
	all := v.common("rpc", "main.go", "app/app.go", "app/account.go", "app/config.go", "app/process.go", "app/app_test.go", "app/contract_test.go", "handler/handler.go", "service/service.go", "service/service_test.go")
	all = append(all, part{"rpc/service.proto", "/" + v.Proto()})
	if v.DB() {
		all = append(all, each("rpc", "store/store.go", "store/store_test.go", "store/storetest/storetest.go", "store/migrations/0001_init.sql")...)
	}
	if v.Entity != nil {
		for _, dir := range []string{"service", "handler", "store"} {
			all = append(all, part{"rpc/" + dir + "/entity.go", path.Join(dir, v.Entity.File()+".go")})
		}
	}
	if v.Events {
		all = append(all, each("rpc", "subscriber/publisher.go", "subscriber/publisher_test.go", "service/event.go")...)
		all = append(all, part{"rpc/events.proto", "/" + v.Topic() + "/events.proto"}, part{"rpc/constants.go", "/" + v.Topic() + "/constants.go"})
	}
	return all
}

// common are the parts of a kind of service, with those that all have.
func (v view) common(kind string, files ...string) []part {
	all := append(each(kind, files...), part{kind + "/README.md", "README.md"}, part{"definition.mu", v.Base + ".mu"})
	if !v.Repository {
		all = append(all, part{"gitignore", ".gitignore"}, part{"dockerignore", ".dockerignore"}, part{"Dockerfile", "Dockerfile"}, part{"docker-compose.yml", "docker-compose.yml"})
	}
	return all
}

func each(kind string, files ...string) []part {
	var all []part
	for _, f := range files {
		all = append(all, part{kind + "/" + f, f})
	}
	return all
}

// render gives all files of a service by their path from the module's root. The service's folder is its root where it has a
// module of its own.
func (v view) render() (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, p := range v.parts() {
		text, err := v.fill(p.template)
		if err != nil {
			return nil, err
		}
		file, atRoot := strings.CutPrefix(p.file, "/")
		if v.Repository && !atRoot {
			file = path.Join(v.Base, file)
		}
		out[file] = text
	}
	return out, nil
}

// fill gives a template's text. Its marks are [[ and ]], which none of the languages has.
func (v view) fill(name string) ([]byte, error) {
	text, err := templates.ReadFile("templates/" + name + ".tmpl")
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	t, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Funcs(functions).Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("fill template: %w", err)
	}
	if !strings.HasSuffix(name, ".go") {
		return b.Bytes(), nil
	}
	code, err := format.Source(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("format %s: %w", name, err)
	}
	return code, nil
}

var functions = template.FuncMap{
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": func(s string) string { return strings.ToUpper(s[:1]) + s[1:] },
	"low":   func(s string) string { return strings.ToLower(s[:1]) + s[1:] },
	"add":   func(a, b int) int { return a + b },
	// sample is a value of a field in the domain, one of many.
	"sample": func(f Field, n int) string {
		switch f.Type {
		case "string":
			return fmt.Sprintf(`"%s %d"`, f.Name, n)
		case "bool":
			return strconv.FormatBool(n%2 == 1)
		case "double":
			return fmt.Sprintf("%d.5", n)
		case "timestamp":
			return fmt.Sprintf("time.Date(2026, 3, %d, 12, 30, 0, 123000, time.UTC)", n)
		}
		return strconv.Itoa(n)
	},
	// message is the same value in a message.
	"message": func(f Field, n int) string {
		switch f.Type {
		case "string":
			return fmt.Sprintf(`"%s %d"`, f.Name, n)
		case "bool":
			return strconv.FormatBool(n%2 == 1)
		case "double":
			return fmt.Sprintf("%d.5", n)
		case "timestamp":
			return fmt.Sprintf(`"2026-03-%02dT12:30:00.000123Z"`, n)
		}
		return strconv.Itoa(n)
	},
}
