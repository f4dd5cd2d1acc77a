package scaffold

import (
	"context"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"micromesh/internal/protogen"
)

// intoRepository writes the service beside those of the mesh. It changes several places; what was changed is as it was where one
// of them fails.
func (s *Spec) intoRepository(ctx context.Context) (w Written, err error) {
	v := s.view(true)
	if err := v.vacant(); err != nil {
		return Written{}, err
	}
	files, err := v.inRepository()
	if err != nil {
		return Written{}, err
	}
	generated := protogen.Config{Dir: s.Dir, Module: mesh}
	if v.RPC() {
		old := generated
		old.Check = true // else others' code would change too
		if err := generate(ctx, old); err != nil {
			return Written{}, fmt.Errorf("before the service is added: %w", err)
		}
	}
	c := changes{dir: s.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undo())
		}
	}()
	if v.RPC() {
		c.willMake(v.Base, "proto/"+v.Package, v.Topic())
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := c.write(name, files[name]); err != nil {
			return Written{}, err
		}
	}
	if v.RPC() {
		if err := generate(ctx, generated); err != nil {
			return Written{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Written{}, err
	}
	names, err := c.all()
	return Written{Dir: filepath.Join(s.Dir, v.Base), Repository: true, Files: names}, err
}

// vacant refuses names of which something is there already.
func (v view) vacant() error {
	places := []string{v.Base}
	if v.RPC() {
		places = append(places, "proto/"+v.Package)
	}
	if v.Events {
		places = append(places, v.Topic())
	}
	var there, missing []string
	for _, p := range places {
		_, err := os.Lstat(filepath.Join(v.Dir, p))
		switch {
		case err == nil:
			there = append(there, p)
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, p)
		default:
			return fmt.Errorf("look for %s: %w", p, err)
		}
	}
	switch {
	case len(there) == 0:
		return nil
	case len(missing) == 0 || there[0] == v.Base:
		return fmt.Errorf("%s is there already: remove it, or choose another name", strings.Join(there, " and "))
	}
	return fmt.Errorf("%s is there already, and %s is not, as of a service that is half there: remove it, or choose another name",
		strings.Join(there, " and "), strings.Join(missing, " and "))
}

// ownImports are the imports of the service's packages after those of the libraries, which are of one module in the repository.
var ownImports = regexp.MustCompile(`("micromesh/(?:pkg|sdk)/[^"\n]*"\n)\n(\t[^\n]*"micromesh/)`)

// inRepository gives all files of a service in the repository, but for generated code, and those that change for it.
func (v view) inRepository() (map[string][]byte, error) {
	files, err := v.render()
	if err != nil {
		return nil, err
	}
	for name, code := range files {
		if strings.HasSuffix(name, ".go") {
			if files[name], err = format.Source(ownImports.ReplaceAll(code, []byte("$1$2"))); err != nil {
				return nil, fmt.Errorf("format %s: %w", name, err)
			}
		}
	}
	edits := map[string]func(string) (string, error){composeFile: v.compose, haFile: v.highlyAvailable, dockerFile: v.docker}
	for name, edit := range edits {
		b, err := os.ReadFile(filepath.Join(v.Dir, name))
		if err != nil {
			return nil, fmt.Errorf("read what the service is added to: %w", err)
		}
		text, err := edit(string(b))
		if err != nil {
			return nil, fmt.Errorf("add the service to %s: %w", name, err)
		}
		if text != string(b) {
			files[name] = []byte(text)
		}
	}
	return files, nil
}
