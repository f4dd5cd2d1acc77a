//go:build !linux

package cluster

import "os/exec"

// start starts a process. That it ends with this one is left to the test's own clean-up.
func start(cmd *exec.Cmd) error { return cmd.Start() }
