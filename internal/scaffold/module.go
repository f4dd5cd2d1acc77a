package scaffold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"micromesh"
	"micromesh/internal/protogen"
)

// thirdParty is where the mesh's sources lie in a module.
const thirdParty = "third_party/" + mesh

// moduleForm is a module's path whose first part is a host, or no package of Go's own.
var moduleForm = regexp.MustCompile(`^([a-z0-9-]+(\.[a-z0-9-]+)+(/[a-zA-Z0-9._~-]+)*|[a-z0-9]+(-[a-z0-9]+)+)$`)

// intoModule writes the service into a folder that is a module of its own. It is made beside, and comes into its place when it
// is whole.
func (s *Spec) intoModule(ctx context.Context) (w Written, err error) {
	v := s.view(false)
	dir := filepath.Join(s.Dir, s.Name.Base)
	if _, err := os.Lstat(dir); err == nil {
		return Written{}, fmt.Errorf("%s is there already: remove it, or choose another name", dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Written{}, fmt.Errorf("look for %s: %w", dir, err)
	}
	files, err := v.module()
	if err != nil {
		return Written{}, err
	}
	beside, err := os.MkdirTemp(s.Dir, "."+s.Name.Base+".new-")
	if err != nil {
		return Written{}, fmt.Errorf("make folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(beside))
		}
	}()
	if err := writeAll(beside, files); err != nil {
		return Written{}, err
	}
	if v.RPC() {
		if err := generate(ctx, protogen.Config{Dir: beside, Module: v.Root}); err != nil {
			return Written{}, err
		}
	}
	if err := os.Chmod(beside, 0o755); err != nil { //nolint:gosec // as any folder of sources
		return Written{}, fmt.Errorf("make folder: %w", err)
	}
	if err := os.Rename(beside, dir); err != nil {
		return Written{}, fmt.Errorf("put %s in its place: %w", dir, err)
	}
	names, err := sourcesIn(dir)
	return Written{Dir: dir, Files: names}, err
}

// module gives all files of a service with a module of its own, but for generated code.
func (v view) module() (map[string][]byte, error) {
	files, err := v.render()
	if err != nil || (v.HTTP != "" && v.HTTP != Go) {
		return files, err
	}
	sources, err := micromesh.Sources()
	if err != nil {
		return nil, fmt.Errorf("read the mesh's sources: %w", err)
	}
	for name, b := range sources {
		files[path.Join(thirdParty, name)] = b
	}
	files["go.sum"] = sources["go.sum"]
	files["go.mod"], err = v.requirements(sources["go.mod"])
	return files, err
}

// requirements makes the module's go.mod: all that the mesh needs, in the versions that it needs, and the mesh itself.
func (v view) requirements(of []byte) ([]byte, error) {
	f, err := modfile.Parse("go.mod", of, nil)
	if err != nil {
		return nil, fmt.Errorf("read the mesh's go.mod: %w", err)
	}
	for _, t := range slices.Clone(f.Tool) {
		if err := f.DropTool(t.Path); err != nil {
			return nil, fmt.Errorf("make go.mod: %w", err)
		}
	}
	err = errors.Join(f.AddModuleStmt(v.Root), f.AddRequire(mesh, "v0.0.0"), f.AddReplace(mesh, "", "./"+thirdParty, ""))
	if err != nil {
		return nil, fmt.Errorf("make go.mod: %w", err)
	}
	f.Cleanup()
	return f.Format()
}

func generate(ctx context.Context, cfg protogen.Config) error {
	if _, err := protogen.Run(ctx, cfg); err != nil {
		return fmt.Errorf("generate code: %w", err)
	}
	return nil
}

// writeAll writes files below a folder.
func writeAll(dir string, files map[string][]byte) error {
	for name, b := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as any folder of sources
			return fmt.Errorf("make folder: %w", err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil { //nolint:gosec // as any source
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// sourcesIn lists what is below a folder, without the mesh's sources.
func sourcesIn(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		switch rel = filepath.ToSlash(rel); {
		case err != nil:
			return err
		case d.IsDir() && rel == path.Dir(thirdParty):
			return fs.SkipDir
		case !d.IsDir():
			names = append(names, rel)
		}
		return nil
	})
	return names, err
}

// inRepository tells whether a folder is the root of the mesh's repository. One below it is refused: a service there would be
// neither of the repository nor a module of its own.
func inRepository(dir string) (bool, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return false, fmt.Errorf("find the folder: %w", err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		b, err := os.ReadFile(filepath.Join(at, "go.mod"))
		switch {
		case err == nil && modfile.ModulePath(b) == mesh && !strings.Contains(filepath.ToSlash(at), "/"+thirdParty):
			if at != abs {
				return false, fmt.Errorf("%s is inside of the mesh's repository: new services come into its root, %s", abs, at)
			}
			return true, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false, fmt.Errorf("look for the module: %w", err)
		}
		if at == filepath.Dir(at) {
			return false, nil
		}
	}
}
