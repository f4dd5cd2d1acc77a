package settled

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// File is a file that is followed. It must be used by one goroutine at a time.
type File struct {
	path   string
	settle time.Duration
	limit  int64
	watch  *watch // nil where there is none

	last    *state // that was returned
	pending *state // that differs from last, and settles
	since   time.Time
	how     change // how the file at the path has come about since last
}

// state is a file at a moment.
type state struct {
	target  string // the path without symbolic links
	info    os.FileInfo
	changed time.Time // of its status; zero where the system doesn't have it
	sum     [sha256.Size]byte
	content []byte
}

// change is how a file has come to its path.
type change uint8

const (
	unknown change = iota
	moved          // by rename
	written        // it was created there, or written since
)

// Open reads a file and follows it from then on. In-place changes are returned once the file has not changed for settle. Files of more
// than limit bytes are errors.
func Open(path string, settle time.Duration, limit int64) (*File, []byte, error) {
	f := &File{path: path, settle: settle, limit: limit}
	f.watch = newWatch()
	f.observe()
	s, err := f.read()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	f.last = s
	return f, s.content, nil
}

// Close releases the file's watch.
func (f *File) Close() error {
	if f.watch == nil {
		return nil
	}
	return f.watch.close()
}

// Look reads the file again. It returns the content if it differs from what was returned last and is complete; nil if there is nothing
// new. Now is the present time; force takes the content even if it may be incomplete.
//
// Errors: the file can't be read. It is followed on.
func (f *File) Look(now time.Time, force bool) ([]byte, error) {
	f.observe()
	s, err := f.read()
	if err != nil {
		f.pending = nil
		return nil, err
	}
	if s.sum == f.last.sum {
		f.take(s)
		return nil, nil
	}
	before := f.how
	f.observe() // what came meanwhile may have changed the file while it was read
	if force || f.how == before && f.replaced(s) || f.settled(s, now) {
		return f.take(s), nil
	}
	return nil, nil
}

// take makes s the state that was returned.
func (f *File) take(s *state) []byte {
	f.last, f.pending, f.how = s, nil, unknown
	return s.content
}

// replaced reports whether a whole file has taken the place of the last one.
func (f *File) replaced(s *state) bool {
	if f.how == unknown && s.target == f.last.target {
		return !os.SameFile(s.info, f.last.info) && s.changed.After(s.info.ModTime())
	}
	return f.how == moved || s.target != f.last.target
}

// Pending reports whether the file has changed and is not complete yet, as far as the last Look knows.
func (f *File) Pending() bool { return f.pending != nil }

// settled reports whether s has been the state for long enough.
func (f *File) settled(s *state, now time.Time) bool {
	if f.pending == nil || !f.pending.same(s) {
		f.pending, f.since = s, now
	}
	return now.Sub(f.since) >= f.settle
}

func (s *state) same(o *state) bool {
	return s.target == o.target && os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime()) &&
		s.changed.Equal(o.changed) && s.sum == o.sum
}

// observe takes up what has happened in the folders of the path and of the file that it leads to.
func (f *File) observe() {
	if f.watch == nil {
		return
	}
	if how := f.watch.drain(); how != unknown {
		f.how = how
	}
	names := []string{f.path}
	if target, err := filepath.EvalSymlinks(f.path); err == nil && target != filepath.Clean(f.path) {
		names = append(names, target)
	}
	f.watch.set(names)
}

func (f *File) read() (*state, error) {
	target, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", f.path, err)
	}
	in, err := os.Open(target)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	defer in.Close()
	content, err := io.ReadAll(io.LimitReader(in, f.limit+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if int64(len(content)) > f.limit {
		return nil, fmt.Errorf("%s has more than %d bytes", f.path, f.limit)
	}
	info, err := in.Stat() // after the content: a change in between makes another state at the next look
	if err != nil {
		return nil, fmt.Errorf("look at file: %w", err)
	}
	return &state{target: target, info: info, changed: statusChanged(info), sum: sha256.Sum256(content), content: content}, nil
}
