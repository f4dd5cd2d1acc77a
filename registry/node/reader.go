// Package node reads what this machine has and uses.
package node

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"micromesh/registry/service"
)

// Reader reads the usage of CPU, memory and disk. What the system doesn't tell is zero: only Linux has all of it.
type Reader struct {
	proc fs.FS
	disk string

	mu   sync.Mutex
	last cpuTimes
}

// New makes a reader of a proc file system, and of the disk that a folder is on.
func New(proc fs.FS, folder string) *Reader {
	r := &Reader{proc: proc, disk: folder}
	r.last, _ = r.cpuTimes()
	return r
}

// Usage reads it now. CPU is the average since the last call.
func (r *Reader) Usage() service.Usage {
	return service.Usage{CPU: r.cpu(), Memory: r.memory(), Disk: gauge(diskSpace(r.disk))}
}

// gauge fills in the percentage. Both sizes are whole numbers.
func gauge(total, used float64) service.Gauge {
	g := service.Gauge{Total: math.Round(total), Used: math.Round(used)}
	if total > 0 {
		g.Percent = 100 * used / total
	}
	return g
}

// cpuTimes is how long all cores together were busy, and were there, in ticks.
type cpuTimes struct{ busy, total float64 }

func (r *Reader) cpu() service.Gauge {
	total := float64(1000 * runtime.NumCPU())
	now, ok := r.cpuTimes()
	if !ok {
		return service.Gauge{Total: total}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	passed, busy := now.total-r.last.total, now.busy-r.last.busy
	r.last = now
	if passed <= 0 {
		return service.Gauge{Total: total}
	}
	return gauge(total, total*max(busy, 0)/passed)
}

// cpuTimes reads the first line of /proc/stat: "cpu user nice system idle iowait irq softirq steal …" (proc_stat(5)).
func (r *Reader) cpuTimes() (t cpuTimes, ok bool) {
	b, err := fs.ReadFile(r.proc, "stat")
	if err != nil {
		return t, false
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, false
	}
	for i, f := range fields[1:9] { // what follows is contained in user and nice
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return t, false
		}
		t.total += n
		if i != 3 && i != 4 { // idle, iowait
			t.busy += n
		}
	}
	return t, true
}

// memory reads /proc/meminfo: what is not available counts as used (proc_meminfo(5)).
func (r *Reader) memory() service.Gauge {
	f, err := r.proc.Open("meminfo")
	if err != nil {
		return service.Gauge{}
	}
	defer func() { _ = f.Close() }()
	values := map[string]float64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64); err == nil {
			values[name] = n * 1024
		}
	}
	total := values["MemTotal"]
	return gauge(total, max(total-values["MemAvailable"], 0))
}
