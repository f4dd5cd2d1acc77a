//go:build linux || darwin || freebsd

package node

import "syscall"

// diskSpace gives the size of the file system that a folder is on, and what of it isn't free, in bytes.
func diskSpace(folder string) (total, used float64) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, 0
	}
	block := float64(s.Bsize)
	return float64(s.Blocks) * block, float64(s.Blocks-s.Bfree) * block
}
