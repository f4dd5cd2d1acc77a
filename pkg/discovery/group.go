package discovery

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// group is the candidates of one service.
type group struct {
	selector *Selector
	service  string

	mu         sync.Mutex // over replacing candidates
	candidates atomic.Pointer[[]*Candidate]
}

// fill makes the service's nodes the candidates.
func (g *group) fill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var nodes []*Node
	if s := g.selector.dir.Lookup(g.service); s != nil {
		nodes = s.Nodes
	}
	g.replace(nodes)
}

// disband lets all candidates leave.
func (g *group) disband() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replace(nil)
}

// replace keeps what is known of the nodes that stay. New ones begin with the others' average latency, so that they are
// neither flooded nor shunned.
func (g *group) replace(nodes []*Node) {
	old := *g.candidates.Load()
	now := g.selector.now()
	typical := averageLatency(old, now)
	next := make([]*Candidate, 0, len(nodes))
	for _, n := range nodes {
		if !g.selector.fits(n) {
			continue // it speaks another protocol
		}
		if i := slices.IndexFunc(old, func(c *Candidate) bool { return c.Node.same(n) }); i >= 0 {
			next = append(next, old[i])
			continue
		}
		c := &Candidate{Node: n, group: g}
		c.latency.Store(math.Float64bits(typical))
		c.measured.Store(now)
		next = append(next, c)
	}
	g.candidates.Store(&next)
	for _, c := range old {
		if !slices.Contains(next, c) {
			c.leave()
		}
	}
}

// typical returns the average latency of the other candidates.
func (g *group) typical(but *Candidate, now int64) time.Duration {
	others := slices.DeleteFunc(slices.Clone(*g.candidates.Load()), func(c *Candidate) bool { return c == but })
	return time.Duration(averageLatency(others, now))
}

func averageLatency(all []*Candidate, now int64) float64 {
	if len(all) == 0 {
		return 0
	}
	var sum float64
	for _, c := range all {
		sum += c.expected(now)
	}
	return sum / float64(len(all))
}

// mayEject tells whether one more ejection leaves at least half of the nodes.
func (g *group) mayEject(now int64) bool {
	all := *g.candidates.Load()
	out := 1
	for _, c := range all {
		if c.out(now) {
			out++
		}
	}
	return 2*out <= len(all)
}

// pick returns the better of two random candidates that fit, weren't tried and aren't ejected; failing that, one that fits and wasn't
// tried.
func pick(all, tried []*Candidate, now int64, fits func(*Candidate) bool) *Candidate {
	if len(all) == 1 && len(tried) == 0 && fits == nil {
		return all[0]
	}
	left := func(c *Candidate) bool { return !slices.Contains(tried, c) && (fits == nil || fits(c)) }
	usable := func(c *Candidate) bool { return !c.out(now) && left(c) }
	a := probe(all, usable)
	if a == nil {
		return probe(all, left)
	}
	b := probe(all, func(c *Candidate) bool { return c != a && usable(c) })
	if b != nil && b.cost(now) < a.cost(now) {
		return b
	}
	return a
}

// probe gives the first candidate that fits, from a random place on.
func probe(all []*Candidate, fits func(*Candidate) bool) *Candidate {
	if len(all) == 0 {
		return nil
	}
	start := rand.IntN(len(all))
	for i := range all {
		if c := all[(start+i)%len(all)]; fits(c) {
			return c
		}
	}
	return nil
}
