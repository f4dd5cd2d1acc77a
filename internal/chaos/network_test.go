package chaos_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// network is one of its own, for a process to be cut off in, behind a pair of virtual interfaces (ip-netns(8), veth(4)).
type network struct {
	t          *testing.T
	name       string
	here, host string // addresses of both ends
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	id := os.Getpid() % 10_000
	n := &network{t: t, name: fmt.Sprintf("mesh%d", id), here: fmt.Sprintf("10.213.%d.%d", id/60%256, id%60*4+1), host: fmt.Sprintf("10.213.%d.%d", id/60%256, id%60*4+2)}
	near, far := fmt.Sprintf("mesh%dn", id), fmt.Sprintf("mesh%df", id)
	if err := ip("netns", "add", n.name); err != nil {
		missing(t, "a network can't be made here: %v", err)
	}
	t.Cleanup(func() { _ = ip("netns", "del", n.name) }) // with both interfaces
	for _, args := range [][]string{
		{"link", "add", near, "type", "veth", "peer", "name", far, "netns", n.name},
		{"addr", "add", n.here + "/30", "dev", near},
		{"link", "set", near, "up"},
		{"-n", n.name, "addr", "add", n.host + "/30", "dev", far},
		{"-n", n.name, "link", "set", far, "up"},
		{"-n", n.name, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			missing(t, "a network can't be made here: %v", err)
		}
	}
	return n
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil { // by no context: it cleans up too
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

// place is where a cluster's process runs in it.
func (n *network) place() cluster.Place {
	return cluster.Place{Host: n.host, Enter: []string{"ip", "netns", "exec", n.name}}
}

// drop drops all packets that come out of the network, without a word to anybody outside, or lets them through again.
func (n *network) drop(all bool) {
	n.t.Helper()
	verb := "del"
	if all {
		verb = "add"
	}
	if err := ip("-n", n.name, "route", verb, "blackhole", n.here+"/32"); err != nil {
		n.t.Fatal(err)
	}
}

// TestNATSPacketsAreDropped has no packet come from the NATS server, for longer than it takes to notice.
func TestNATSPacketsAreDropped(t *testing.T) {
	const row = "NATS partitioned, packets dropped"
	n := newNetwork(t)
	m := start(t, cluster.Config{NATS: n.place()})
	l := begin(t, 50, m.URL+"/shop-svc/")
	n.drop(true)
	began := time.Now()
	for _, name := range []string{"user", "registry", "proxy"} {
		p := m.cluster.Services[name][0]
		eventually(t, name+" notices", 6*time.Second+slack-time.Since(began), func() bool { return p.Ready() != nil })
	}
	noticed := time.Since(began)
	slugs := m.registerSome(t, "meanwhile", 5)
	n.drop(false)
	ended := time.Now()
	m.cluster.AwaitReady()
	back := time.Since(ended)
	m.once(t, patience, slugs)
	figure(t, row, "noticed by all services after %v; all ready %v after its end", noticed.Round(time.Millisecond), back.Round(time.Millisecond))
	if len(slugs) != 5 {
		t.Errorf("%d of 5 accounts were registered meanwhile", len(slugs))
	}
	m.reachable(t, "later-svc", patience)
	l.nothingLost(t, row)
}
