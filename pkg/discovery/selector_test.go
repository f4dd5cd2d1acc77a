package discovery_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/selector"

	"micromesh/pkg/discovery"
)

// directory is a Directory in memory.
type directory struct {
	mu       sync.Mutex
	services map[string]*discovery.Service
	changed  func(string)
}

func newDirectory() *directory { return &directory{services: map[string]*discovery.Service{}} }

func (d *directory) Lookup(name string) *discovery.Service {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.services[name]
}

func (d *directory) OnChange(fn func(string)) func() {
	d.changed = fn
	return func() { d.changed = func(string) {} }
}

func (d *directory) set(name string, nodes ...string) {
	d.mu.Lock()
	delete(d.services, name)
	if len(nodes) > 0 {
		s := &registry.Service{Name: name}
		for _, n := range nodes {
			s.Nodes = append(s.Nodes, &registry.Node{Id: n, Address: n + ":1"})
		}
		d.services[name] = discovery.NewService(s)
	}
	d.mu.Unlock()
	d.changed(name)
}

// share makes n calls one after the other, each of which takes as long as took says, and counts who got them.
func share(t *testing.T, s *discovery.Selector, n int, took func(node string) (time.Duration, discovery.Outcome)) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		c, err := s.Pick("pets")
		if err != nil {
			t.Fatal(err)
		}
		d, how := took(c.Node.ID)
		time.Sleep(d)
		c.End(d, how)
		got[c.Node.ID]++
	}
	return got
}

func newSelector(t *testing.T, nodes ...string) (*directory, *discovery.Selector) {
	t.Helper()
	d := newDirectory()
	s := discovery.NewSelector(d, nil)
	d.set("pets", nodes...)
	return d, s
}

func TestEqualNodesShareTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "a", "b", "c")
		got := share(t, s, 3000, func(string) (time.Duration, discovery.Outcome) { return time.Millisecond, discovery.Answered })
		for _, n := range []string{"a", "b", "c"} {
			if got[n] < 600 {
				t.Errorf("node %s got %d of 3000 calls: %v", n, got[n], got)
			}
		}
	})
}

// Those who call a service first, at the same time, all find its node.
func TestFirstCallersFindTheNodes(t *testing.T) {
	dir := newDirectory()
	s := discovery.NewSelector(dir, nil)
	dir.set("pets", "a")
	for range 2000 {
		s.Reset("pets")
		var g sync.WaitGroup
		begin := make(chan struct{})
		for range 8 {
			g.Go(func() {
				<-begin
				c, err := s.Pick("pets")
				if err != nil {
					t.Error(err)
					return
				}
				c.End(0, discovery.Answered)
			})
		}
		close(begin)
		if g.Wait(); t.Failed() {
			return
		}
	}
}

func TestSlowNodeGetsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "fast", "slow")
		got := share(t, s, 2000, func(n string) (time.Duration, discovery.Outcome) {
			if n == "slow" {
				return 20 * time.Millisecond, discovery.Answered
			}
			return time.Millisecond, discovery.Answered
		})
		if got["slow"] > 100 || got["slow"] == 0 {
			t.Errorf("the slow node got %d of 2000 calls; it should get some, and under 5 %%", got["slow"])
		}
	})
}

func TestSilentNodeGetsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "well", "hung")
		got := share(t, s, 500, func(n string) (time.Duration, discovery.Outcome) {
			if n == "hung" {
				return time.Second, discovery.Failed
			}
			return time.Millisecond, discovery.Answered
		})
		if got["hung"] > 5 {
			t.Errorf("the node that hangs got %d of 500 calls", got["hung"])
		}
	})
}

func TestUnreachableNodeIsEjectedForLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "well", "dead", "well2", "well3")
		begin := time.Now()
		var tries []time.Duration
		for time.Since(begin) < 40*time.Second {
			share(t, s, 1, func(n string) (time.Duration, discovery.Outcome) {
				if n == "dead" {
					tries = append(tries, time.Since(begin))
					return 0, discovery.Unreachable
				}
				return time.Millisecond, discovery.Answered
			})
		}
		// Two to find out, then after 1, 2, 4, 8, 16 seconds.
		if len(tries) > 7 || len(tries) < 5 {
			t.Errorf("the dead node was tried at %v", tries)
		}
	})
}

func TestEjectedNodeComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "a", "b")
		down := true
		took := func(n string) (time.Duration, discovery.Outcome) {
			if n == "b" && down {
				return 0, discovery.Unreachable
			}
			return time.Millisecond, discovery.Answered
		}
		share(t, s, 100, took)
		down = false
		if got := share(t, s, 100, took); got["b"] != 0 {
			t.Errorf("the ejected node got %d calls", got["b"])
		}
		time.Sleep(time.Minute)
		if got := share(t, s, 100, took); got["b"] < 20 {
			t.Errorf("the node got %d of 100 calls when it was back", got["b"])
		}
	})
}

func TestHalfOfTheNodesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := newSelector(t, "a", "b", "c", "d")
		got := share(t, s, 1000, func(string) (time.Duration, discovery.Outcome) {
			return 0, discovery.Unreachable
		})
		busy := 0
		for _, n := range got {
			if n > 100 {
				busy++
			}
		}
		if busy != 2 {
			t.Errorf("all nodes are dead: calls went to %v; two should stay in", got)
		}
	})
}

func TestOnlyNodeIsTriedThoughItIsDead(t *testing.T) {
	_, s := newSelector(t, "a")
	got := share(t, s, 10, func(string) (time.Duration, discovery.Outcome) { return 0, discovery.Unreachable })
	if got["a"] != 10 {
		t.Errorf("calls went to %v", got)
	}
}

func TestPickLeavesOutWhatWasTried(t *testing.T) {
	_, s := newSelector(t, "a", "b")
	first, err := s.Pick("pets")
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Pick("pets", first)
	if err != nil || second == first {
		t.Fatalf("Pick gave %v, %v", second, err)
	}
	if _, err := s.Pick("pets", first, second); !errors.Is(err, selector.ErrNoneAvailable) {
		t.Errorf("Pick gave %v, want ErrNoneAvailable", err)
	}
	if _, err := s.Pick("nobody"); !errors.Is(err, selector.ErrNotFound) {
		t.Errorf("Pick gave %v, want ErrNotFound", err)
	}
}

func TestNodeIsLetGoWhenItsLastCallHasEnded(t *testing.T) {
	d := newDirectory()
	var left []string
	s := discovery.NewSelector(d, func(c *discovery.Candidate) { left = append(left, c.Node.ID) })
	d.set("pets", "a")
	one, _ := s.Pick("pets")
	two, _ := s.Pick("pets")
	d.set("pets", "b")
	if len(left) != 0 {
		t.Fatal("the node was let go in the middle of calls")
	}
	one.End(time.Millisecond, discovery.Answered)
	two.End(time.Millisecond, discovery.Answered)
	if fmt.Sprint(left) != "[a]" {
		t.Errorf("let go: %v, want a, once", left)
	}
	d.set("pets")
	if fmt.Sprint(left) != "[a b]" {
		t.Errorf("let go: %v, want b too", left)
	}
	if _, err := s.Pick("pets"); !errors.Is(err, selector.ErrNotFound) {
		t.Errorf("Pick gave %v of a service that left", err)
	}
}

func TestSelectorsShareNothing(t *testing.T) {
	d, mine := newSelector(t, "a", "b")
	theirs := discovery.NewSelector(d, nil)
	for range 100 {
		c, _ := mine.Pick("pets")
		how := discovery.Answered
		if c.Node.ID == "a" {
			how = discovery.Unreachable
		}
		c.End(time.Millisecond, how)
	}
	got := map[string]int{}
	for range 100 {
		c, _ := theirs.Pick("pets")
		c.End(time.Millisecond, discovery.Answered)
		got[c.Node.ID]++
	}
	if got["a"] == 0 {
		t.Error("one selector's ejection holds for another")
	}
}

func TestMarkEjects(t *testing.T) {
	_, s := newSelector(t, "a", "b")
	next, err := s.Select("pets")
	if err != nil {
		t.Fatal(err)
	}
	dead := &registry.Node{Id: "a", Address: "a:1"}
	for range 100 {
		if _, err := next(); err != nil {
			t.Fatal(err)
		}
		s.Mark("pets", dead, fmt.Errorf("dial: %w", discovery.ErrUnreachable))
	}
	for range 100 {
		if n, _ := next(); n.Id == "a" {
			t.Fatal("the marked node is still given")
		}
	}
	s.Mark("pets", nil, nil)
	s.Mark("nobody", dead, nil)
	s.Reset("pets")
	got := map[string]bool{}
	for range 100 {
		n, _ := next()
		got[n.Id] = true
	}
	if !got["a"] {
		t.Error("Reset didn't forget the ejection")
	}
}

func TestSelectHonoursFilters(t *testing.T) {
	_, s := newSelector(t, "a", "b")
	only := func(id string) selector.SelectOption {
		return selector.WithFilter(func(services []*registry.Service) []*registry.Service {
			var fit []*registry.Service
			for _, svc := range services {
				svc.Nodes = slices.DeleteFunc(svc.Nodes, func(n *registry.Node) bool { return n.Id != id })
				if len(svc.Nodes) > 0 {
					fit = append(fit, svc)
				}
			}
			return fit
		})
	}
	next, err := s.Select("pets", only("b"))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if n, err := next(); err != nil || n.Id != "b" {
			t.Fatalf("next gave %v, %v; want b", n, err)
		}
	}
	if _, err := s.Select("pets", only("c")); !errors.Is(err, selector.ErrNoneAvailable) {
		t.Errorf("Select gave %v, want ErrNoneAvailable", err)
	}
	if _, err := s.Select("nobody"); !errors.Is(err, selector.ErrNotFound) {
		t.Errorf("Select gave %v, want ErrNotFound", err)
	}
}
