// Package netpolicytest runs tests that name addresses outside of this machine where nothing can leave it.
package netpolicytest

import (
	"os"
	"os/exec"
	"testing"
)

// within is the variable that says that a process is in a network namespace of its own.
const within = "NETPOLICYTEST_ALONE"

// Alone runs the calling test again in a network namespace that has loopback alone, and reports whether this is that run. The test ends
// where it is not:
//
//	if !netpolicytest.Alone(t) {
//		return
//	}
//
// It needs Linux with the commands unshare and ip, and root or user namespaces. The test fails where the namespace can't be made: its
// addresses must not be tried on the machine's network.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(within) != "" {
		return true
	}
	args := []string{"--net", "--", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0], "-test.run=^" + t.Name() + "$", "-test.timeout=5m", "-test.count=1"}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", args...) //nolint:gosec // this test binary runs itself
	cmd.Env = append(os.Environ(), within+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a network namespace: %v\n%s", err, out)
	}
	return false
}
