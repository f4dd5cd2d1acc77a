package child

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ticks is how many of the units of /proc/PID/stat a second has, on all architectures that Go runs Linux on.
const ticks = 100

// CPU is the processor time that the process and its children have used so far, in user and system mode. Its resolution
// is 10 ms.
func (p *Process) CPU() (time.Duration, error) { return CPU(p.cmd.Process.Pid) }

// CPU is the processor time that a process and its children have used so far, as Process.CPU.
func CPU(pid int) (time.Duration, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	var sum time.Duration
	for _, id := range append(bytes.Fields(children), strconv.AppendInt(nil, int64(pid), 10)) {
		d, err := cpu(string(id))
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += d
	}
	return sum, nil
}

// cpu reads utime and stime, the 14th and 15th fields of /proc/PID/stat.
func cpu(pid string) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // behind the command, which may hold anything
	if len(f) < 13 {
		return 0, errors.New("/proc/PID/stat has another form than expected")
	}
	user, err := strconv.ParseInt(string(f[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * time.Second / ticks, err
}

// Resident is how much of the process's memory is in RAM, in bytes.
func (p *Process) Resident() (int64, error) { return Resident(p.cmd.Process.Pid) }

// Resident is how much of a process's memory is in RAM, in bytes.
func Resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, errors.New("read memory: /proc/PID/statm has another form than expected")
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
