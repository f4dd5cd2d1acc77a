package events

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inHand is a message that this process has and has not acknowledged.
type inHand struct {
	jetstream.Msg
	stream string
	seq    uint64
	stored time.Time
}

type place struct {
	stream string
	seq    uint64
}

func (m *inHand) place() place { return place{m.stream, m.seq} }

// lane is what messages must share to be worked on one after the other; those without a key have one each.
func (m *inHand) lane() any {
	if key := m.Headers().Get(headerSubject); key != "" {
		return key
	}
	return m.place()
}

// lanes have messages processed: those of a key in order, of different keys at the same time. Where they are gathered,
// all are in one lane, which is worked off in batches.
type lanes struct {
	process func([]*inHand)
	slots   chan struct{} // of those that are worked on
	stop    <-chan struct{}
	wg      sync.WaitGroup

	batch  int           // messages that are processed together; 1 where they are not gathered
	linger time.Duration // that fewer wait for more
	more   chan struct{} // says that there may be enough

	mu    sync.Mutex
	all   map[place]*inHand
	bytes int                  // of all
	queue map[any][]*inHand    // by lane; a lane that is there has somebody who works it off
	held  map[string][]*inHand // by stream; a stream that is there is held
}

func newLanes(parallel int) *lanes {
	return &lanes{
		slots: make(chan struct{}, parallel), all: map[place]*inHand{}, queue: map[any][]*inHand{}, held: map[string][]*inHand{},
		batch: 1, more: make(chan struct{}, 1),
	}
}

// gather has messages of all keys processed together. It is called before begin.
func (l *lanes) gather(batch int, linger time.Duration) { l.batch, l.linger = batch, linger }

// begin says what is done with messages; none are waited for once ctx has ended. It is called before the first is added.
func (l *lanes) begin(ctx context.Context, process func([]*inHand)) {
	l.stop, l.process = ctx.Done(), process
}

// add takes a message, unless it is in hand already and came again.
func (l *lanes) add(m *inHand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[m.place()]; ok {
		return
	}
	l.all[m.place()] = m
	l.bytes += len(m.Data())
	if _, ok := l.held[m.stream]; ok {
		l.held[m.stream] = append(l.held[m.stream], m)
		return
	}
	l.enqueue(m)
}

func (l *lanes) enqueue(m *inHand) {
	lane := m.lane()
	if l.linger > 0 {
		lane = allKeys{}
	}
	_, busy := l.queue[lane]
	l.queue[lane] = append(l.queue[lane], m)
	if !busy {
		l.wg.Go(func() { l.work(lane) })
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// allKeys is the lane of messages that are gathered.
type allKeys struct{}

// work works a lane off.
func (l *lanes) work(lane any) {
	for {
		l.await(lane)
		l.mu.Lock()
		n := min(len(l.queue[lane]), l.batch)
		if n == 0 {
			delete(l.queue, lane)
			l.mu.Unlock()
			return
		}
		batch := slices.Clone(l.queue[lane][:n])
		l.queue[lane] = l.queue[lane][n:]
		l.mu.Unlock()
		l.process(batch)
	}
}

// await waits until a lane has a batch, or what it has has waited long enough.
func (l *lanes) await(lane any) {
	if l.linger == 0 {
		return
	}
	timer := time.NewTimer(l.linger)
	defer timer.Stop()
	for {
		l.mu.Lock()
		n := len(l.queue[lane])
		l.mu.Unlock()
		if n == 0 || n >= l.batch {
			return
		}
		select {
		case <-l.more:
		case <-timer.C:
			return
		case <-l.stop:
			return
		}
	}
}

// oldest is when the oldest message in hand was stored; zero where there is none.
func (l *lanes) oldest() (at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.all {
		if at.IsZero() || m.stored.Before(at) {
			at = m.stored
		}
	}
	return at
}

// slot does a piece of work as soon as not too many others are under way.
func (l *lanes) slot(work func()) {
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	work()
}

// done forgets a message that was acknowledged.
func (l *lanes) done(m *inHand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.all[m.place()]; ok {
		l.bytes -= len(m.Data())
	}
	delete(l.all, m.place())
}

// size is how many bytes the messages in hand have.
func (l *lanes) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// hold keeps messages of a stream that come from now on, until release.
func (l *lanes) hold(stream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[stream]; !ok {
		l.held[stream] = nil
	}
}

// release lets those that were held go on, in the stream's order.
func (l *lanes) release(stream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := l.held[stream]
	delete(l.held, stream)
	slices.SortFunc(held, func(a, b *inHand) int { return cmp.Compare(a.seq, b.seq) })
	for _, m := range held {
		l.enqueue(m)
	}
}

// count tells how many messages of a stream are in hand.
func (l *lanes) count(stream string) int { return len(l.of(stream)) }

// of gives the messages of a stream, or of all where it is empty, in their order.
func (l *lanes) of(stream string) []*inHand {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*inHand
	for _, m := range l.all {
		if stream == "" || m.stream == stream {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *inHand) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// beat tells the server again and again that the messages are in good hands.
func (l *lanes) beat(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, m := range l.of("") {
				_ = m.InProgress() // else it comes again, and is known
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *lanes) wait() { l.wg.Wait() }

// giveBack has the server give the messages that were not worked on to another process.
func (l *lanes) giveBack(stream string) {
	for _, m := range l.of(stream) {
		_ = m.Nak() // else it does so later
	}
}
