package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// changes are those of one run to a folder that others use too, and how it was before.
type changes struct {
	dir     string
	made    []string          // folders that were not there, and all that comes into them
	before  map[string][]byte // content of files that have changed
	changed []string
}

// willMake tells that folders are made, if they aren't there, by whoever it may be.
func (c *changes) willMake(folders ...string) {
	for _, f := range folders {
		if _, err := os.Lstat(filepath.Join(c.dir, f)); errors.Is(err, fs.ErrNotExist) {
			c.made = append(c.made, f)
		}
	}
}

// write writes a file, with the folders that it lies in.
func (c *changes) write(name string, content []byte) error {
	file := filepath.Join(c.dir, filepath.FromSlash(name))
	old, err := os.ReadFile(file)
	switch {
	case err == nil:
		if c.before == nil {
			c.before = map[string][]byte{}
		}
		c.before[name] = old
		c.changed = append(c.changed, name)
	case errors.Is(err, fs.ErrNotExist):
		c.willMake(c.first(filepath.Dir(filepath.FromSlash(name))))
	default:
		return fmt.Errorf("read what is there: %w", err)
	}
	return writeAll(c.dir, map[string][]byte{name: content})
}

// first is the outermost of the folders of a path that is not there.
func (c *changes) first(path string) string {
	for parent := filepath.Dir(path); parent != "."; parent = filepath.Dir(parent) {
		if _, err := os.Lstat(filepath.Join(c.dir, parent)); err == nil {
			break
		}
		path = parent
	}
	return path
}

// undo makes the folder what it was.
func (c *changes) undo() error {
	var wrong []error
	for _, f := range slices.Backward(c.made) {
		wrong = append(wrong, os.RemoveAll(filepath.Join(c.dir, f)))
	}
	for name, b := range c.before {
		wrong = append(wrong, writeAll(c.dir, map[string][]byte{name: b}))
	}
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("put back what was there: %w", err)
	}
	return nil
}

// all gives the files that were made or changed.
func (c *changes) all() ([]string, error) {
	all := slices.Clone(c.changed)
	for _, f := range c.made {
		err := filepath.WalkDir(filepath.Join(c.dir, f), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if errors.Is(err, fs.ErrNotExist) {
					return nil // it was not made after all
				}
				return err
			}
			rel, err := filepath.Rel(c.dir, p)
			all = append(all, filepath.ToSlash(rel))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list what was made: %w", err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
