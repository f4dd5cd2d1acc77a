// Package settled reads a configuration file that people and programs change while it is in use. Content that is being written is not
// returned before the writer has finished:
//
//   - A file that was replaced by rename is returned at the next look. So is the target of a symbolic link that was replaced, as
//     Kubernetes does with config maps.
//   - A file that was created or written in place is returned once it has not changed for a while. This covers editors, cp, shell
//     redirections and files that are mounted into a container by themselves.
//
// Renames are detected by inotify(7) on Linux. Without it, or where it has missed them, a new file counts as renamed if its status
// changed after its content did, which rename(2) does. On other systems each change waits, except for that of a symbolic link.
//
// The file is compared by its device, inode, size, times and the hash of its content: times are too coarse to rely on.
package settled
