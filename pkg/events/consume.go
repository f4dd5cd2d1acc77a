package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/sqldb"
)

// AllTopics stands for every topic in [ConsumerOptions], also those that are published for the first time later.
const AllTopics = "*"

// ConsumerOptions say what a [Consumer] does. Name, Topics and either Handle or HandleBatch must be set.
type ConsumerOptions struct {
	// Name of the consumer, the same in all processes of the service and for ever: the service's slug, or where it has
	// several, its slug, a dash and more.
	Name   string
	Topics []string
	// Handle does the work of an event. It may be called again for the same event, even after it has succeeded: where
	// that matters, it applies the event by [Once]. Its context ends some time after Run's.
	Handle func(context.Context, Record) error
	// HandleBatch does the work of many events at once, in place of Handle: of all keys together, in the stream's order, one
	// batch after the other. It gives an error for each event that it has not done, by the event's place, or nil where all
	// are done. Only those come again, before any later event does; so that a key keeps its order, the events after one that
	// is to be tried again must have errors too.
	HandleBatch func(context.Context, []Record) []error
	// Batch is how many events HandleBatch gets at most; default 500. BatchWait is how long fewer wait for more; default 1 s.
	Batch     int
	BatchWait time.Duration
	// Tries that an event gets before it is a dead letter; default 8. Negative tries for ever.
	Tries int
	// FirstRetry and LastRetry are the waits between tries, which double; default 100 ms and 30 s.
	FirstRetry, LastRetry time.Duration
	// Parallel is how many events are worked on at once, each of another key; default 16.
	Parallel int
	// Patience is after how long of silence a process of the service is taken for dead, and another has its events;
	// default 10 s, at least 1 s.
	Patience time.Duration
	// Notes is the database in which [Once] notes events; old notes are taken out of it. May be nil.
	Notes *sqldb.DB
}

const (
	window = 256              // events in hand at least, those that wait included; twice a batch where that is more
	most   = 5000             // events of a batch
	budget = 32 << 20         // bytes of events in hand, above which no more are asked for
	grace  = 10 * time.Second // that work under way has when a consumer stops
	group  = "one"            // of the processes, of which one is pinned
	pinID  = "Nats-Pin-Id"    // says to which process a message was given

	forgetting = time.Hour // between two looks for old notes
)

var consumerNames = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

func (o *ConsumerOptions) complete() error {
	o.Tries = cmp.Or(o.Tries, 8)
	o.FirstRetry = cmp.Or(o.FirstRetry, 100*time.Millisecond)
	o.LastRetry = cmp.Or(o.LastRetry, 30*time.Second)
	o.Parallel = cmp.Or(o.Parallel, 16)
	o.Patience = cmp.Or(o.Patience, 10*time.Second)
	o.Batch = cmp.Or(o.Batch, 500)
	o.BatchWait = cmp.Or(o.BatchWait, time.Second)
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !consumerNames.MatchString(o.Name) {
		add("%q is no name of a consumer: lower-case letters, digits and single dashes", o.Name)
	}
	if len(o.Topics) == 0 {
		add("the consumer %s names no topics", o.Name)
	}
	if (o.Handle == nil) == (o.HandleBatch == nil) {
		add("the consumer %s must have one of Handle and HandleBatch", o.Name)
	}
	if o.Batch < 1 || o.Batch > most || o.BatchWait < 0 {
		add("batches have %d events or wait for %v; it must be 1 to %d events", o.Batch, o.BatchWait, most)
	}
	if o.FirstRetry < 0 || o.LastRetry < o.FirstRetry {
		add("retries wait from %v to %v; the first must not be longer than the last", o.FirstRetry, o.LastRetry)
	}
	if o.Parallel < 1 || o.Parallel > window {
		add("%d events are worked on at once; it must be 1 to %d", o.Parallel, window)
	}
	if o.Patience < time.Second {
		add("a process is taken for dead after %v; it must be at least 1s", o.Patience)
	}
	return errors.Join(wrong...)
}

// Consumer gives a service the events of topics, each until its work is done. Of all processes of the service, one has
// them at a time: JetStream pins it, and pins another when it falls silent. Events of one key are worked on one after the
// other in their order, also while one is tried again; those of different keys at the same time. An event whose tries are
// over, or that nobody can decode, becomes a dead letter ([DeadStream]). One that the verifier drops has no effect.
type Consumer struct {
	v     *Verifier
	o     ConsumerOptions
	log   *slog.Logger
	lanes *lanes
}

// NewConsumer makes a consumer, which consumes once Run runs. Errors tell everything that is wrong with the options.
func NewConsumer(v *Verifier, log *slog.Logger, o ConsumerOptions) (*Consumer, error) {
	o.Topics = slices.Clone(o.Topics)
	if err := o.complete(); err != nil {
		return nil, err
	}
	v.dead.WithLabelValues(o.Name)
	c := &Consumer{v: v, o: o, log: log.With("consumer", o.Name), lanes: newLanes(o.Parallel)}
	if o.HandleBatch != nil {
		c.lanes.gather(o.Batch, o.BatchWait)
	}
	return c, nil
}

// Oldest is when the oldest event was stored that this process has in hand and has not done; zero where there is none. It
// asks nobody.
func (c *Consumer) Oldest() time.Time { return c.lanes.oldest() }

// window is how many events are in hand at most.
func (c *Consumer) window() int {
	if c.o.HandleBatch == nil {
		return window
	}
	return max(window, 2*c.o.Batch)
}

// Run consumes until ctx ends; then work under way is finished, and what was not begun is given back. Call it once.
func (c *Consumer) Run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c.lanes.begin(ctx, func(batch []*inHand) {
		if c.o.HandleBatch != nil {
			c.processBatch(ctx, work, batch)
			return
		}
		c.process(ctx, work, batch[0])
	})
	var wg sync.WaitGroup
	sources := c.sources()
	for _, s := range sources {
		wg.Go(func() { s.run(ctx) })
	}
	if c.o.Notes != nil {
		wg.Go(func() { c.forget(ctx) })
	}
	alive, stop := context.WithCancel(work)
	beats := make(chan struct{})
	go func() { defer close(beats); c.lanes.beat(alive, c.o.Patience/4) }()
	wg.Wait()
	late := time.AfterFunc(grace, cancel)
	c.lanes.wait()
	late.Stop()
	stop()
	<-beats
	for _, s := range sources {
		s.leave(work)
	}
}

// forget takes out old notes.
func (c *Consumer) forget(ctx context.Context) {
	ticker := time.NewTicker(forgetting)
	defer ticker.Stop()
	for {
		if err := c.o.Notes.ForgetConsumed(ctx, time.Now().Add(-noteLife)); err != nil && ctx.Err() == nil {
			c.log.Warn("notes_stay", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sources are where a consumer's events come from: the stream, and dead letters that are given back.
func (c *Consumer) sources() []*source {
	subjects := make([]string, 0, len(c.o.Topics))
	for _, t := range c.o.Topics {
		subjects = append(subjects, Subject(t))
	}
	return []*source{
		{c: c, stream: Stream, subjects: subjects, ensure: EnsureStream},
		{c: c, stream: DeadStream, subjects: []string{replaySubject(c.o.Name)}, ensure: EnsureDeadStream},
	}
}

// source is a durable consumer of a stream, as this process has it.
type source struct {
	c        *Consumer
	stream   string
	subjects []string
	ensure   func(context.Context, jetstream.JetStream) error

	limit    int    // of messages in hand; 0 is the consumer's window
	pin      string // to which the last message was given
	settling bool   // not everything that another process had in hand is here yet
}

func (s *source) config() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: s.c.o.Name, FilterSubjects: s.subjects, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.c.o.Patience, MaxAckPending: cmp.Or(s.limit, s.c.window()),
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{group}, PinnedTTL: s.c.o.Patience,
	}
}

// run takes messages until ctx ends. What goes wrong is tried again for ever.
func (s *source) run(ctx context.Context) {
	delay := firstRetry
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		s.c.log.Warn("consumer_waits", "stream", s.stream, "error", err)
		if time.Since(began) > lastRetry {
			delay = firstRetry
		}
		pause(ctx, delay)
		delay = min(2*delay, lastRetry)
	}
}

func (s *source) session(ctx context.Context) error {
	if err := s.ensure(ctx, s.c.v.js); err != nil {
		return err
	}
	s.limit = 0
	durable, err := s.c.v.js.CreateOrUpdateConsumer(ctx, s.stream, s.config())
	if err != nil {
		return fmt.Errorf("open consumer %s of %s: %w", s.c.o.Name, s.stream, err)
	}
	msgs, err := durable.Messages(jetstream.PullPriorityGroup(group), jetstream.PullMaxMessagesWithBytesLimit(s.c.window(), budget/2), jetstream.PullExpiry(max(s.c.o.Patience/4, time.Second)))
	if err != nil {
		return fmt.Errorf("read %s: %w", s.stream, err)
	}
	defer msgs.Stop()
	for {
		m, err := s.next(ctx, msgs)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read %s: %w", s.stream, err)
		case m != nil:
			s.take(m)
			if err := s.ration(ctx); err != nil {
				return err
			}
		}
		if s.settling {
			if err := s.settle(ctx, durable); err != nil {
				return err
			}
		}
	}
}

// next gives the next message. While the source settles it gives nil where none comes for a moment.
func (s *source) next(ctx context.Context, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	if !s.settling {
		return msgs.Next(jetstream.NextContext(ctx))
	}
	moment, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	m, err := msgs.Next(jetstream.NextContext(moment))
	if moment.Err() != nil && m == nil {
		return nil, nil //nolint:nilnil // there is no message, and nothing wrong
	}
	return m, err
}

// take puts a message into the lane of its key. When this process has just become the one that gets messages, they are
// held: those that its predecessor had in hand come again later than newer ones.
func (s *source) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		s.c.log.Error("message_unreadable", "stream", s.stream, "error", err)
		return
	}
	if pin := m.Headers().Get(pinID); pin != s.pin {
		s.pin, s.settling = pin, true
		s.c.lanes.hold(s.stream)
	}
	s.c.lanes.add(&inHand{Msg: m, stream: s.stream, seq: meta.Sequence.Stream, stored: meta.Timestamp})
}

// ration has the server give no more messages than there are in hand while these are large, and as many as ever once they
// are not.
func (s *source) ration(ctx context.Context) error {
	switch bytes := s.c.lanes.size(); {
	case bytes > budget && s.limit == 0:
		s.limit = max(s.c.lanes.count(s.stream), 1)
	case bytes < budget/2 && s.limit != 0:
		s.limit = 0
	default:
		return nil
	}
	if _, err := s.c.v.js.UpdateConsumer(ctx, s.stream, s.config()); err != nil {
		return fmt.Errorf("limit consumer %s of %s: %w", s.c.o.Name, s.stream, err)
	}
	return nil
}

// settle ends the holding of messages as soon as everything that the stream waits for is here.
func (s *source) settle(ctx context.Context, durable jetstream.Consumer) error {
	info, err := durable.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at consumer %s of %s: %w", s.c.o.Name, s.stream, err)
	}
	if s.c.lanes.count(s.stream) >= info.NumAckPending {
		s.settling = false
		s.c.lanes.release(s.stream)
	}
	return nil
}

// leave gives back what was not begun, and lets another process be pinned at once.
func (s *source) leave(ctx context.Context) {
	s.c.lanes.giveBack(s.stream)
	if s.pin == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	durable, err := s.c.v.js.Consumer(ctx, s.stream, s.c.o.Name)
	if err != nil {
		return // another is pinned when this one has been silent
	}
	for _, g := range durable.CachedInfo().PriorityGroups {
		if g.PinnedClientID == s.pin {
			if stream, err := s.c.v.js.Stream(ctx, s.stream); err == nil {
				_ = stream.UnpinConsumer(ctx, s.c.o.Name, group) // likewise
			}
		}
	}
}

// pause waits, or tells false where ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
