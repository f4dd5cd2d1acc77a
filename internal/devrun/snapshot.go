package devrun

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// state tells a file from what it was.
type state struct {
	size int64
	time time.Time
}

// snapshot is how files were at a time.
type snapshot map[string]state

// below adds the files below a folder that are wanted, if there is one. What begins with a dot is left out.
func (s snapshot) below(dir string, wanted func(file string) bool) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it has just gone
		case err != nil:
			return err
		case p != dir && strings.HasPrefix(d.Name(), "."), d.IsDir() && slices.Contains([]string{"node_modules", "__pycache__", "testdata"}, d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() || !wanted(p):
			return nil
		}
		return s.add(p)
	})
	if err != nil {
		return fmt.Errorf("look at sources: %w", err)
	}
	return nil
}

// add adds a file, if there is one.
func (s snapshot) add(file string) error {
	fi, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at sources: %w", err)
	}
	s[file] = state{fi.Size(), fi.ModTime()}
	return nil
}

func (s snapshot) equal(other snapshot) bool { return maps.Equal(s, other) }

// since gives the files that are there now and were not, are not any more, or are others, sorted.
func (s snapshot) since(before snapshot) []string {
	var changed []string
	for file, now := range s {
		if was, ok := before[file]; !ok || was != now {
			changed = append(changed, file)
		}
	}
	for file := range before {
		if _, ok := s[file]; !ok {
			changed = append(changed, file)
		}
	}
	slices.Sort(changed)
	return changed
}
