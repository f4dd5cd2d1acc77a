package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"micromesh/pkg/atomicfile"
)

// Copy puts the files of a service's own folder in Dir into another folder too, such as a volume that the service has to itself, and
// tells which it has written, relative to that.
func (c *Config) Copy(slug, to string) (written []string, err error) {
	from := filepath.Join(c.Dir, slug)
	files, err := os.ReadDir(from)
	if err != nil {
		return nil, fmt.Errorf("copy secrets: %w", err)
	}
	if err := os.MkdirAll(to, dirMode); err != nil {
		return nil, fmt.Errorf("copy secrets: %w", err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return written, fmt.Errorf("copy secrets: %w", err)
		}
		file := filepath.Join(to, f.Name())
		old, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return written, fmt.Errorf("copy secrets: %w", err)
		}
		if err == nil && bytes.Equal(old, content) {
			continue
		}
		if err := atomicfile.Replace(file, content); err != nil {
			return written, fmt.Errorf("copy secrets: %w", err)
		}
		if err := os.Chmod(file, fileMode); err != nil {
			return written, fmt.Errorf("copy secrets: %w", err)
		}
		written = append(written, f.Name())
	}
	return written, nil
}
