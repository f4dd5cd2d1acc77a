package cluster

import "syscall"

// orphans ends a process with its parent, however that ends.
func orphans() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
