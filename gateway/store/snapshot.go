// Package store keeps the gateway's snapshot: what it must know to serve when it starts and everything else is down.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"micromesh/pkg/atomicfile"
)

// Snapshot is a file that holds one JSON value, replaced whole.
type Snapshot struct {
	file string
}

// NewSnapshot makes a snapshot of a file, whose folder exists.
func NewSnapshot(file string) *Snapshot { return &Snapshot{file} }

// Load reads the value into v, and tells whether there was one. A file that can't be read as JSON counts as none and
// is told: the state it held comes back from the control plane.
func (s *Snapshot) Load(v any) (bool, error) {
	b, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read snapshot: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("read snapshot: %w", err)
	}
	return true, nil
}

// Save replaces the value: a crash leaves the old one or the new one, never half of one.
func (s *Snapshot) Save(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	if err := atomicfile.Replace(s.file, b); err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	return nil
}
