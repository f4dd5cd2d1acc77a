//go:build !linux

package cluster

import "syscall"

// orphans has no counterpart here: the test's own clean-up ends the processes.
func orphans() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
