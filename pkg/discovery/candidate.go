package discovery

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome is how a call to a node ended, as far as choosing nodes is concerned.
type Outcome uint8

// The outcomes.
const (
	Answered    Outcome = iota // with a result
	Failed                     // no answer came, for a reason that doesn't tell whether the node can be reached
	Unreachable                // no connection could be established
	Refused                    // with an error, which counts as a little slower than the other nodes' results: fast errors would attract load
)

const (
	// memory is the time constant of the latency's moving average: after it, an old sample weighs 1/e.
	memory = 10 * time.Second
	// fastest is the least latency that is told apart, so that calls in flight decide among very fast nodes.
	fastest = 50 * time.Microsecond

	// ejectAfter consecutive failures to connect, a node is left out, for firstEjection, and twice as long each
	// time until it was well for calm.
	ejectAfter      = 2
	firstEjection   = time.Second
	longestEjection = time.Minute
	calm            = time.Minute
)

// Candidate is a node with what one Selector knows of it.
type Candidate struct {
	Node *Node // as it was when it was first seen at its address

	group    *group
	inFlight atomic.Int64
	latency  atomic.Uint64 // float64 bits: nanoseconds, moving average that jumps to peaks
	measured atomic.Int64  // when latency was, in nanoseconds since Selector.started
	ejected  atomic.Int64  // until when it is left out, likewise
	left     atomic.Bool   // the node has gone; no new call begins
	over     sync.Once     // calls the Selector's leave hook

	failures  atomic.Int32 // consecutive, to connect
	mu        sync.Mutex   // over the ejections
	ejections int          // since it was last calm
}

// Service is the service that the node is of.
func (c *Candidate) Service() string { return c.group.service }

// End ends the call that Pick began; each Candidate that Pick gives needs exactly one.
func (c *Candidate) End(took time.Duration, how Outcome) {
	now := c.group.selector.now()
	switch how {
	case Unreachable:
		c.unreachable(now)
	case Answered:
		c.observe(took, now)
		c.reached(now)
	case Refused:
		c.slower(max(took, c.group.typical(c, now)*11/10), now)
		c.reached(now)
	case Failed:
		c.slower(took, now)
	}
	if c.inFlight.Add(-1) == 0 && c.left.Load() {
		c.gone()
	}
}

// begin counts a call, and tells false where the node has left.
func (c *Candidate) begin() bool {
	c.inFlight.Add(1)
	if !c.left.Load() {
		return true
	}
	if c.inFlight.Add(-1) == 0 {
		c.gone()
	}
	return false
}

// leave lets no more calls begin; the hook runs once the last has ended.
func (c *Candidate) leave() {
	c.left.Store(true)
	if c.inFlight.Load() == 0 {
		c.gone()
	}
}

func (c *Candidate) gone() {
	c.over.Do(func() {
		if hook := c.group.selector.onLeave; hook != nil {
			hook(c)
		}
	})
}

// cost is what picking the node is expected to cost: less is better.
func (c *Candidate) cost(now int64) float64 {
	return float64(c.inFlight.Load()+1) * max(c.expected(now), float64(fastest))
}

// expected is the latency's average, which fades while no call measures it: so a node that was slow is tried again.
func (c *Candidate) expected(now int64) float64 {
	age := max(now-c.measured.Load(), 0)
	return math.Float64frombits(c.latency.Load()) * math.Exp(-float64(age)/float64(memory))
}

// slower takes a sample into the average if that makes the node slower. A call without a result never shows that the node is fast.
func (c *Candidate) slower(took time.Duration, now int64) {
	if float64(took) > c.expected(now) {
		c.observe(took, now)
	}
}

// observe takes a sample into the average. Two at once may lose one of them: it is only a sample.
func (c *Candidate) observe(took time.Duration, now int64) {
	sample := float64(took)
	age := max(now-c.measured.Load(), 0)
	weight := math.Exp(-float64(age) / float64(memory))
	average := math.Float64frombits(c.latency.Load())*weight + sample*(1-weight)
	c.latency.Store(math.Float64bits(max(average, sample)))
	c.measured.Store(now)
}

// unreachable counts a failure to connect. Those of calls that began before the node was ejected count once.
func (c *Candidate) unreachable(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out(now) || c.failures.Add(1) < ejectAfter || !c.group.mayEject(now) {
		return
	}
	span := min(firstEjection<<min(c.ejections, 10), longestEjection)
	c.ejections++
	c.ejected.Store(now + int64(span))
}

// reached forgets failures, and old ejections.
func (c *Candidate) reached(now int64) {
	if c.failures.Load() == 0 && c.ejected.Load() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.Store(0)
	if now-c.ejected.Load() > int64(calm) {
		c.ejections = 0
		c.ejected.Store(0)
	}
}

// out tells whether the node is ejected.
func (c *Candidate) out(now int64) bool { return now < c.ejected.Load() }
