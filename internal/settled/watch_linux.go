package settled

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// watch receives what happens to names in folders, by inotify(7).
type watch struct {
	fd    int
	names map[int32]map[string]bool // by the folder's watch descriptor
	how   change
}

const events = syscall.IN_MOVED_TO | syscall.IN_CREATE | syscall.IN_MODIFY

// newWatch returns nil where the system has no watches left.
func newWatch() *watch {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	return &watch{fd: fd, names: map[int32]map[string]bool{}}
}

func (w *watch) close() error { return syscall.Close(w.fd) }

// set watches the names of these paths, and no others. A folder that was replaced is watched again.
func (w *watch) set(paths []string) {
	names := map[int32]map[string]bool{}
	for _, p := range paths {
		d, err := syscall.InotifyAddWatch(w.fd, filepath.Dir(p), events) // the same descriptor for the same folder
		if err != nil {
			continue
		}
		id := int32(d) //nolint:gosec // the kernel's are 32 bits
		if names[id] == nil {
			names[id] = map[string]bool{}
		}
		names[id][filepath.Base(p)] = true
	}
	for id := range w.names {
		if names[id] == nil {
			_, _ = syscall.InotifyRmWatch(w.fd, uint32(id)) //nolint:gosec // see above; a folder that is gone has no watch
		}
	}
	w.names = names
}

// drain returns the last thing that happened to a name since the last call.
func (w *watch) drain() change {
	w.how = unknown
	var buf [16 << 10]byte
	for {
		n, err := syscall.Read(w.fd, buf[:])
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return w.how
		}
		for b := buf[:n]; len(b) >= syscall.SizeofInotifyEvent; {
			size := syscall.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			if size > len(b) {
				break
			}
			w.event(int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), strings.TrimRight(string(b[syscall.SizeofInotifyEvent:size]), "\x00")) //nolint:gosec // as the kernel writes it
			b = b[size:]
		}
	}
}

func (w *watch) event(id int32, mask uint32, name string) {
	switch {
	case mask&syscall.IN_Q_OVERFLOW != 0:
		w.how = written // perhaps
	case !w.names[id][name]:
	case mask&syscall.IN_MOVED_TO != 0:
		w.how = moved
	case mask&(syscall.IN_CREATE|syscall.IN_MODIFY) != 0:
		w.how = written
	}
}

// statusChanged returns when the file's status changed last.
func statusChanged(info os.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctim.Unix())
	}
	return time.Time{}
}
