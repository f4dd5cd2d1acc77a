package meshtest_test

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"micromesh/internal/meshtest"
)

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peak is the most memory that a process ever had resident, in bytes.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	line := peakLine.FindSubmatch(status)
	if line == nil {
		t.Fatalf("the status is %s", status)
	}
	kb, err := strconv.Atoi(string(line[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// times are how long calls took, by their status.
type times map[int][]time.Duration

func (d times) median(status int) time.Duration {
	slices.Sort(d[status])
	return d[status][len(d[status])/2]
}

// storm makes 500 calls with each of the passwords at once. Without a password a call is refused before anything is hashed.
func storm(t *testing.T, m *meshtest.Mesh, passwords ...string) times {
	t.Helper()
	var mu sync.Mutex
	took := times{}
	statuses(500*len(passwords), func(i int) int {
		began := time.Now()
		a := m.Do(t, "POST", "/user-svc/login", "", obj{"slug": "joe", "password": passwords[i%len(passwords)]})
		mu.Lock()
		defer mu.Unlock()
		took[a.Status] = append(took[a.Status], time.Since(began))
		if a.Status == 503 && a.Header.Get("Retry-After") == "" {
			t.Errorf("503 without Retry-After: %s", a.Body)
		}
		return a.Status
	})
	return took
}

// TestParallelLoginsWaitInAQueueAndTakeLittleMemory makes 500 sign-ins in parallel, which would take 10 GB. 256 wait for their turn to hash. The
// others are told so about as soon as calls that hash nothing are answered at the same time.
func TestParallelLoginsWaitInAQueueAndTakeLittleMemory(t *testing.T) {
	url, pid := process(t, "mesh")
	m := &meshtest.Mesh{URL: url}
	m.Register(t, "joe")
	storm(t, m, "", "")
	before := peak(t, pid)
	took := storm(t, m, "", "password-of-joe")
	if len(took[200]) == 0 || len(took[503]) == 0 || len(took[200])+len(took[503]) != 500 || len(took[400]) != 500 {
		t.Fatalf("%d are signed in, %d were busy, %d had no password", len(took[200]), len(took[503]), len(took[400]))
	}
	slices.Sort(took[503])
	const full = 500 - 256 - 50 // are refused immediately; 50 may have had their turn before
	busy, last, other := took[503][full], took[503][len(took[503])-1], took.median(400)
	if busy > 2*other+500*time.Millisecond || last > 2*other+3*time.Second {
		t.Errorf("that there is no turn is told after %v to %v, while others are answered after %v", busy, last, other)
	}
	// As many hashes as there are cores; as many again whose memory the collector has yet to find. The race detector has
	// five times the memory. The rest is what one storm takes more than another.
	const hash = 19 << 20
	most := 2*runtime.GOMAXPROCS(0)*hash*5 + 128<<20
	if grown := peak(t, pid) - before; grown > most {
		t.Errorf("%d bytes more were resident, of %d that were allowed", grown, most)
	}
}
