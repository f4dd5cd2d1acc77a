//go:build !linux

package settled

import (
	"os"
	"time"
)

// watch is not available here.
type watch struct{}

func newWatch() *watch { return nil }

func (*watch) close() error { return nil }

func (*watch) set([]string) {}

func (*watch) drain() change { return unknown }

// statusChanged is not known here: a file that was replaced settles as one that was written.
func statusChanged(os.FileInfo) time.Time { return time.Time{} }
