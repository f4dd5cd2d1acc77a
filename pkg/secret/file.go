package secret

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"micromesh/pkg/atomicfile"
)

// ErrMissing means that the file of a secret key does not exist.
var ErrMissing = errors.New("the file does not exist")

// ErrExposed means that others than the owner may read the file. Its key may be good.
var ErrExposed = errors.New("others may read it")

// Read makes a box of the key in a file, which only its owner may read.
//
// Errors: one line for the operator, which names the file; [ErrMissing], [ErrExposed].
func Read(file string) (*Box, error) {
	b, err := readKey(file)
	if err != nil {
		return nil, fmt.Errorf("the secret key %s can't be used: %w", file, err)
	}
	return b, nil
}

func readKey(file string) (*Box, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrMissing
	case err != nil:
		return nil, cause(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it must be a regular file")
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w (mode %04o): run `chmod 600 %s`", ErrExposed, info.Mode().Perm(), file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, cause(err)
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil, errors.New("it is empty")
	}
	return Parse(string(b))
}

// cause removes the operation and the path, which the message around it names.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Open is Read, but makes a key if the file does not exist. The key is on disk before Open returns: values that a lost key sealed
// are lost.
func Open(file string) (*Box, error) {
	b, err := Read(file)
	if !errors.Is(err, ErrMissing) {
		return b, err
	}
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	err = atomicfile.Create(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) { // another process may have been first
		return nil, fmt.Errorf("write secret key: %w", err)
	}
	return Read(file)
}
