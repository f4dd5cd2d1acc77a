package cluster

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starter gives what starts processes that end with this one, however it ends. The system means the thread by which a
// process was started, and threads come and go: so it is one that stays.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

// start starts a process that ends with this one.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}
