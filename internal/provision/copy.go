package provision

import (
	"fmt"
	"os"
	"path/filepath"
)

// Copy puts the files of a service's own folder in Dir into another folder too, such as a volume that the service has to itself.
func (c *Config) Copy(slug, to string) error {
	from := filepath.Join(c.Dir, slug)
	files, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy secrets: %w", err)
	}
	if err := os.MkdirAll(to, dirMode); err != nil {
		return fmt.Errorf("copy secrets: %w", err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			return fmt.Errorf("copy secrets: %w", err)
		}
		if _, err := say(filepath.Join(to, f.Name()), content, fileMode); err != nil {
			return fmt.Errorf("copy secrets: %w", err)
		}
	}
	return nil
}
