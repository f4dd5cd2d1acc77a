package node_test

import (
	"math"
	"os"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"micromesh/registry/node"
	"micromesh/registry/service"
)

const meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\nHugePages_Total:       0\n"

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestUsage(t *testing.T) {
	proc := fstest.MapFS{"stat": file("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1\n"), "meminfo": file(meminfo)}
	r := node.New(proc, t.TempDir())
	proc["stat"] = file("cpu  140 5 105 800 150 0 0 0 90 0\n") // 50 of 200 ticks were busy
	got := r.Usage()
	cores := float64(1000 * runtime.NumCPU())
	want := service.Usage{
		CPU:    service.Gauge{Total: cores, Used: cores / 4, Percent: 25},
		Memory: service.Gauge{Total: 1000 << 10, Used: 750 << 10, Percent: 75},
		Disk:   got.Disk,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usage differs (-want +got):\n%s", diff)
	}
	if d := got.Disk; d.Total <= 0 || d.Used < 0 || d.Used > d.Total {
		t.Errorf("the disk is %+v", d)
	}
}

// TestUsageIsInWholeNumbers has a third of the time busy.
func TestUsageIsInWholeNumbers(t *testing.T) {
	proc := fstest.MapFS{"stat": file("cpu  0 0 0 0 0 0 0 0 0 0\n"), "meminfo": file(meminfo)}
	r := node.New(proc, t.TempDir())
	proc["stat"] = file("cpu  1 0 0 2 0 0 0 0 0 0\n")
	if got, want := r.Usage().CPU.Used, math.Round(float64(1000*runtime.NumCPU())/3); got != want {
		t.Errorf("%v thousandths of a core are used, not %v", got, want)
	}
}

func TestUsageOfASystemThatDoesNotTell(t *testing.T) {
	for name, proc := range map[string]fstest.MapFS{
		"nothing":  {},
		"nonsense": {"stat": file("cpu  a b c d e f g h\n"), "meminfo": file("MemTotal: lots\n")},
		"short":    {"stat": file("cpu 1 2\n"), "meminfo": file("")},
	} {
		t.Run(name, func(t *testing.T) {
			got := node.New(proc, "/no/such/folder").Usage()
			want := service.Usage{CPU: service.Gauge{Total: float64(1000 * runtime.NumCPU())}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("usage differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsageOfThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // others don't tell
	}
	got := node.New(os.DirFS("/proc"), "/").Usage()
	if got.Memory.Total <= 0 || got.Memory.Used <= 0 || got.Memory.Percent >= 100 {
		t.Errorf("the memory is %+v", got.Memory)
	}
}
