package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one object of an input file, with where it stands.
type document struct {
	where  string
	fields map[string]any
}

// readDocuments reads objects from YAML or JSON: a file, every .yaml, .yml, .json and .mu file of a folder (with its
// folders, in the order of their names), or standard input for "-". A file holds one object, a list of them, or several
// documents. Nothing is given back unless all of it could be read.
func (c *commands) readDocuments(path string) ([]document, error) {
	if path == "-" {
		return decode("standard input", c.Stdin)
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, usagef("%s", err)
	}
	files := []string{path}
	if fi.IsDir() {
		if files, err = documentFiles(path); err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, usagef("%s holds no .yaml, .yml, .json or .mu file", path)
		}
	}
	var out []document
	var wrong []error
	for _, file := range files {
		docs, err := decodeFile(file)
		wrong = append(wrong, err)
		out = append(out, docs...)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, usagef("%s", err)
	}
	if len(out) == 0 {
		return nil, usagef("%s holds nothing to save", path)
	}
	return out, nil
}

func documentFiles(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json", ".mu"}, filepath.Ext(p)) {
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		return nil, usagef("%s", err)
	}
	return out, nil
}

func decodeFile(file string) ([]document, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decode(file, f)
}

func decode(where string, r io.Reader) ([]document, error) {
	var out []document
	dec := yaml.NewDecoder(r)
	for {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s", where, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, v := range list {
			fields, ok := v.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%s: each document must be an object with fields, or a list of such", where)
			}
			out = append(out, document{where, fields})
		}
	}
}

// text gives a field of a document as text; empty where it is missing or something else.
func (d document) text(name string) string {
	s, _ := d.fields[name].(string)
	return s
}

// without refuses documents that miss a field.
func require(docs []document, fields ...string) error {
	var wrong []error
	for _, d := range docs {
		for _, f := range fields {
			if d.fields[f] == nil || d.fields[f] == "" {
				wrong = append(wrong, fmt.Errorf("%s: %s is required", d.where, f))
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return usagef("%s", err)
	}
	return nil
}

func fieldsOf(docs []document) []map[string]any {
	out := make([]map[string]any, len(docs))
	for i, d := range docs {
		out[i] = d.fields
	}
	return out
}
