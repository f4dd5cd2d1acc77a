// Package atomicfile writes files that hold what must not be lost: whole or not at all, on disk when the call returns,
// and readable for their owner alone.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Create writes a file that is not there yet. Where it is there already, by another process at the same time perhaps,
// the error is fs.ErrExist and the file stays as it is.
func Create(file string, content []byte) error {
	return write(file, content, os.Link)
}

// Replace writes a file, or puts new content in an old one's place.
func Replace(file string, content []byte) error {
	return write(file, content, os.Rename)
}

// write writes beside the file, and lets place put it there.
func write(file string, content []byte, place func(from, to string) error) error {
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already where it was renamed
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := place(tmp.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the folder's entries durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
