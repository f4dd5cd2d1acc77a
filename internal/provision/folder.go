package provision

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"micromesh/pkg/atomicfile"
)

// run is one run over a folder, which no other run touches meanwhile.
type run struct {
	cfg       Config
	lock      *os.File
	authority *authority
	written   []string
}

const (
	dirMode   = 0o750
	fileMode  = 0o600
	groupMode = 0o640
)

func open(cfg Config) (*run, error) {
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock, err := os.Open(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder: %w", err), lock.Close())
	}
	return &run{cfg: cfg, lock: lock}, nil
}

func (r *run) close() error { return r.lock.Close() }

func (r *run) path(name string) string { return filepath.Join(r.cfg.Dir, filepath.FromSlash(name)) }

// read gives a file's content; nil where there is none, or nothing in it.
func (r *run) read(name string) ([]byte, error) {
	b, err := os.ReadFile(r.path(name))
	if errors.Is(err, fs.ErrNotExist) || len(b) == 0 {
		return nil, nil
	}
	return b, err
}

// keep gives what a file says, which is made up where there is no such file.
func (r *run) keep(name string, makeUp func() string) (string, error) {
	b, err := r.read(name)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if b == nil {
		b = []byte(makeUp() + "\n")
	}
	return strings.TrimSpace(string(b)), r.write(name, b)
}

// write makes a file say something. One that says so already stays as it is.
func (r *run) write(name string, content []byte) error {
	file := r.path(name)
	folder, _, _ := strings.Cut(name, "/")
	if err := os.MkdirAll(filepath.Dir(file), dirMode); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	mode := fs.FileMode(fileMode)
	if slices.Contains([]string{natsFolder, guestsFolder, postgresFolder}, folder) {
		mode = groupMode // their images run as users of their own
	}
	changed, err := say(file, content, mode)
	if changed {
		r.written = append(r.written, name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// say makes a file say something, unless it does, and tells whether it was changed.
func say(file string, content []byte, mode fs.FileMode) (changed bool, err error) {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if len(old) == 0 || !bytes.Equal(old, content) {
		if err := atomicfile.Replace(file, content); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, os.Chmod(file, mode)
}

// newPassword has 130 random bits.
func newPassword() string { return rand.Text() }

func newSecretKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}
