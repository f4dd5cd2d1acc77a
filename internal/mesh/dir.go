package mesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"micromesh/pkg/host"
	"micromesh/pkg/secret"
)

// openDir makes the folder of all data, and locks it: two meshes on one folder would destroy each other's.
func (m *Mesh) openDir() error {
	dir, err := filepath.Abs(m.cfg.Dir)
	if err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	m.cfg.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the data folder %s can't be made: %w", dir, cause(err))
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("the data folder %s is not writable: %w", dir, cause(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("the data folder %s can't be locked: %w", dir, err)
		}
		return fmt.Errorf("the data folder %s is in use by another mesh", dir)
	}
	m.lock = f
	return nil
}

// databases are the files of the services.
func databases() []string { return []string{"user", "registry", "proxy"} }

func (m *Mesh) database(name string) string { return filepath.Join(m.cfg.Dir, name+".db") }

// renewHint tells how to start without the secret key of before.
const renewHint = "start once with `micro up --new-secret-key`"

// openSecretKey opens the secret key of the data folder. It makes one only in a folder without databases: theirs must not be
// replaced silently.
func (m *Mesh) openSecretKey() (*secret.Box, host.SecretKey, error) {
	file := filepath.Join(m.cfg.Dir, "secret.key")
	about := host.SecretKey{Name: "the secret key " + file, Again: renewHint, Renewed: m.cfg.NewSecretKey}
	for _, name := range databases() {
		_, err := os.Stat(m.database(name))
		m.used = m.used || err == nil
	}
	box, err := secret.Read(file)
	if err == nil {
		return box, about, nil
	}
	missing := errors.Is(err, secret.ErrMissing)
	switch {
	case missing && (!m.used || m.cfg.NewSecretKey):
	case m.cfg.NewSecretKey:
		if err := os.Rename(file, fmt.Sprintf("%s.unusable-%d", file, time.Now().Unix())); err != nil {
			return nil, about, fmt.Errorf("put %s aside: %w", file, cause(err))
		}
	case errors.Is(err, secret.ErrExposed):
		return nil, about, err // which says what to do: the key need not be lost
	case m.used:
		return nil, about, fmt.Errorf("%w: the databases in %s belong to it. Restore it from a backup. If it is lost, %s. That loses all sessions and the certificates of hosts", err, m.cfg.Dir, renewHint)
	default:
		return nil, about, fmt.Errorf("%w: repair or delete it", err)
	}
	box, err = secret.Open(file)
	return box, about, err
}

// cause takes the operation and the path away, which the message around it names already.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
