// Package micromesh holds the sources of the mesh that services outside of this repository are built with: `micro new` writes
// them beside the new service, so that nothing has to be fetched that is not on the module proxy.
package micromesh

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed go.mod go.sum LICENSE pkg sdk/go proto user/proto registry/proto proxy/proto
var files embed.FS

// Sources gives the libraries, the SDK and the contracts of the mesh's own services, with go.mod and go.sum, by their path in the
// module. Tests and their data are left out.
func Sources() (map[string][]byte, error) {
	all := map[string][]byte{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path.Base(name) == "testdata":
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		all[name], err = files.ReadFile(name)
		return err
	})
	return all, err
}
