package events

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/kv"
	"micromesh/pkg/schema"
	"micromesh/pkg/telemetry"
)

// Why events are dropped, as the label "reason" of mesh_events_dropped_total has it.
const (
	ReasonPublisher = "publisher" // the source doesn't own the topic
	ReasonUnsigned  = "unsigned"  // there is no signature
	ReasonKey       = "key"       // the owner has no such key, or nobody vouches for it
	ReasonSignature = "signature" // it is not a signature of this event
	ReasonDuplicate = "duplicate" // an event with this id was there before; [Tail] tells, not [Verifier.Check]
)

func reasons() []string {
	return []string{ReasonPublisher, ReasonUnsigned, ReasonKey, ReasonSignature, ReasonDuplicate}
}

// DroppedError says that an event is not of the owner of its topic, or not as the owner has published it. Whoever
// consumes it acknowledges it without doing anything.
type DroppedError struct {
	Reason string
	Cause  error // what says more; nil where there is no more to say
}

// Error implements error.
func (e *DroppedError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("the event is dropped: %s: %v", e.Reason, e.Cause)
	}
	return "the event is dropped: " + e.Reason
}

// Unwrap gives the cause.
func (e *DroppedError) Unwrap() error { return e.Cause }

const (
	keyLife     = 2 * time.Second // how long a key is believed before it is read again
	keyGrace    = 2 * time.Second // how long one is believed after it was missed: its publisher puts it there again where NATS has lost it
	keyPatience = 3 * time.Second // how long an event waits for a key whose entry is wrong: its publisher puts it right
	quiet       = time.Minute     // between two lines in the log about the same
	maxTopics   = 100             // that the metric names; it says "other" of more, for whoever makes them up
	maxSchemas  = 1000            // that are kept
	maxKeys     = 1000            // that are kept
	impatience  = 10 * time.Second
	pastPace    = 500 // events a second for each processor
	pastBurst   = 1
	otherTopics = "other"
	maxSource   = 100 // bytes of what an event says it is from, in the log
)

// Verifier tells events that the owners of their topics have published from all others, and decodes them. A process needs
// one. Its methods are safe for concurrent use.
type Verifier struct {
	js      jetstream.JetStream
	voucher Voucher
	log     *slog.Logger
	dropped *prometheus.CounterVec
	dead    *prometheus.CounterVec
	turns   chan struct{} // of those who use the processor, of which half is left to others
	past    *rate.Limiter // of events that those who watch catch up with

	mu      sync.Mutex
	keys    map[string]verifyingKey                   // by "<slug>.<id>"
	schemas map[string]protoreflect.MessageDescriptor // by hash
	topics  map[string]bool                           // that the metric names
	said    map[[2]string]time.Time                   // when the log had a topic and a reason
	missed  map[string]time.Time                      // when something was waited for in vain, by bucket
	wrong   map[string]time.Time                      // when an entry was wrong first, by "<slug>.<id>"
}

// verifyingKey is a publisher's key, and when it was read.
type verifyingKey struct {
	key    ed25519.PublicKey
	proof  []byte
	read   time.Time
	missed time.Time // when the bucket was first seen without it; zero while it is there
}

// NewVerifier makes a verifier, whose counter of dropped events is with these metrics. A nil voucher believes each key that
// is in the bucket [kv.Signers]; any other takes the owner's certificate as well.
func NewVerifier(js jetstream.JetStream, voucher Voucher, log *slog.Logger, metrics prometheus.Registerer) *Verifier {
	v := &Verifier{
		js: js, voucher: voucher, log: log, keys: map[string]verifyingKey{}, schemas: map[string]protoreflect.MessageDescriptor{},
		turns:  make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		past:   rate.NewLimiter(rate.Limit(pastPace*runtime.GOMAXPROCS(0)), pastBurst),
		topics: map[string]bool{}, said: map[[2]string]time.Time{}, missed: map[string]time.Time{}, wrong: map[string]time.Time{},
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mesh_events_dropped_total", Help: "Events that are not of the owner of their topic, or came before.",
		}, []string{"topic", "reason"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mesh_events_dead_total", Help: "Events that a consumer has put among the dead letters.",
		}, []string{"consumer"}),
	}
	for _, topic := range meshTopics() {
		v.topics[topic] = true
		for _, reason := range reasons() {
			v.dropped.WithLabelValues(topic, reason)
		}
	}
	metrics.MustRegister(v.dropped, v.dead)
	return v
}

// Check gives the event of a message, decoded. An event of the right publisher that can't be decoded says why in Problem:
// it is to be put aside, since it stays so. Whether the id was there before is for whoever keeps ids to tell.
//
// Errors: [*DroppedError], which is counted and logged here; any other is for now, and another try may do.
func (v *Verifier) Check(ctx context.Context, m jetstream.Msg) (Record, error) {
	r := newRecord(m)
	if err := v.verify(ctx, r, m); err != nil {
		if d, ok := errors.AsType[*DroppedError](err); ok {
			v.drop(r, d)
		}
		return Record{}, err
	}
	data, err := v.decode(ctx, m)
	if p, ok := errors.AsType[*problemError](err); ok {
		r.Problem = p.Error()
		return r, nil
	}
	if err != nil {
		return Record{}, err
	}
	r.Data = data
	return r, nil
}

func newRecord(m jetstream.Msg) Record {
	h := m.Headers()
	r := Record{
		ID: h.Get(headerID), Source: h.Get(headerSource), Type: h.Get(headerType), Subject: h.Get(headerSubject), Time: h.Get(headerTime),
		Topic: strings.TrimPrefix(m.Subject(), Subject("")), Trace: h.Get(telemetry.Header), Schema: h.Get(headerSchema),
	}
	if meta, err := m.Metadata(); err == nil {
		r.Seq = meta.Sequence.Stream
	}
	return r
}

// verify fails unless the owner of the topic has published the event. Errors are those of Check.
func (v *Verifier) verify(ctx context.Context, r Record, m jetstream.Msg) error {
	owner := Owner(r.Topic)
	if r.Source != "/"+owner {
		return &DroppedError{Reason: ReasonPublisher}
	}
	header := m.Headers().Get(headerSignature)
	if header == "" {
		return &DroppedError{Reason: ReasonUnsigned}
	}
	id, signature, err := parseSignature(header)
	if err != nil {
		return &DroppedError{ReasonSignature, err}
	}
	key, err := v.key(ctx, owner, id)
	if err != nil {
		return err
	}
	good := false
	v.turn(func() { good = ed25519.Verify(key, signed(m.Subject(), m.Headers(), m.Data()), signature) })
	if !good {
		return &DroppedError{Reason: ReasonSignature}
	}
	return nil
}

// turn does a piece of work that takes the processor. Who catches up with the events of an hour must not keep it from whoever
// waits for an answer.
func (v *Verifier) turn(work func()) {
	v.turns <- struct{}{}
	defer func() { <-v.turns }()
	work()
}

// key gives a publisher's key. While the bucket can't be read, what it said last is good. Refusals are not kept: names can
// be made up, and a publisher may be vouched for a moment later.
func (v *Verifier) key(ctx context.Context, owner, id string) (ed25519.PublicKey, error) {
	name := owner + "." + id
	v.mu.Lock()
	old, ok := v.keys[name]
	v.mu.Unlock()
	if ok && time.Since(old.read) < keyLife {
		return old.key, nil
	}
	lookup := v.lookup
	if ok {
		lookup = v.read
	}
	value, err := lookup(ctx, kv.Signers, name)
	switch {
	case errors.Is(err, errMissing) && ok && v.graced(name, old):
		return old.key, nil
	case errors.Is(err, errMissing):
		return nil, &DroppedError{ReasonKey, err}
	case err != nil && ok:
		return old.key, nil
	case err != nil:
		return nil, err
	}
	found, err := v.parseKey(owner, id, value)
	if err != nil && ok && v.vouched(owner, id, old.proof) == nil {
		found, err = old, nil // the entry was overwritten. The id is the hash of the key, which stays what it was
	}
	if err != nil {
		return nil, v.wrongKey(name, err)
	}
	found.read, found.missed = time.Now(), time.Time{}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.keys) >= maxKeys {
		clear(v.keys)
	}
	v.keys[name] = found
	delete(v.wrong, name)
	return found.key, nil
}

// wrongKey returns the error of an event whose key's entry is wrong. It is for now at first, since the publisher puts its entry right.
func (v *Verifier) wrongKey(name string, why error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	since, ok := v.wrong[name]
	if !ok {
		if len(v.wrong) >= maxKeys {
			clear(v.wrong)
		}
		since = time.Now()
		v.wrong[name] = since
	}
	if time.Since(since) < keyPatience {
		return fmt.Errorf("read key of events: %w", why)
	}
	return &DroppedError{ReasonKey, why}
}

// graced reports whether a key that the bucket doesn't hold any more is still believed. It is forgotten where it isn't.
func (v *Verifier) graced(name string, old verifyingKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if old.missed.IsZero() {
		old.missed = time.Now()
		v.keys[name] = old
	}
	if time.Since(old.missed) < keyGrace {
		return true
	}
	delete(v.keys, name)
	return false
}

func (v *Verifier) parseKey(owner, id string, value []byte) (verifyingKey, error) {
	var entry publicKey
	if err := json.Unmarshal(value, &entry); err != nil {
		return verifyingKey{}, fmt.Errorf("read key of events: %w", err)
	}
	if len(entry.Key) != ed25519.PublicKeySize || schema.Hash(entry.Key) != id {
		return verifyingKey{}, errors.New("the key is not what its name says")
	}
	return verifyingKey{key: entry.Key, proof: entry.Proof}, v.vouched(owner, id, entry.Proof)
}

// vouched fails unless the owner's certificate vouches for a key, where processes have certificates.
func (v *Verifier) vouched(owner, id string, proof []byte) error {
	if v.voucher == nil {
		return nil
	}
	return v.voucher.Vouched(owner, keyStatement(owner, id), proof)
}

// errMissing says that a bucket doesn't hold something.
var errMissing = errors.New("the bucket doesn't hold it")

// lookup reads what a publisher puts into a bucket before the first event that needs it. In a cluster another server may
// answer, which is a moment behind: so what is missing is looked for again. That is not done again and again, since
// somebody may make up what isn't there.
func (v *Verifier) lookup(ctx context.Context, bucket, key string) ([]byte, error) {
	for _, pause := range []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 750 * time.Millisecond, 0} {
		value, err := v.read(ctx, bucket, key)
		if !errors.Is(err, errMissing) {
			return value, err
		}
		if pause == 0 || v.impatient(bucket) {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missed[bucket] = time.Now()
	return nil, errMissing
}

func (v *Verifier) impatient(bucket string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, ok := v.missed[bucket]
	return ok && time.Since(at) < impatience
}

func (v *Verifier) read(ctx context.Context, bucket, key string) ([]byte, error) {
	b, err := v.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, errMissing
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	e, err := b.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return nil, errMissing
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of bucket %s: %w", key, bucket, err)
	}
	return e.Value(), nil
}

// drop counts an event that is dropped, and says so in the log, once a while.
func (v *Verifier) drop(r Record, d *DroppedError) {
	topic, say := v.account(r.Topic, d.Reason)
	v.dropped.WithLabelValues(topic, d.Reason).Inc()
	if say {
		v.log.Warn("event_dropped", "topic", topic, "source", r.Source[:min(len(r.Source), maxSource)], "sequence", r.Seq, "error", d)
	}
}

// account tells under which topic a dropped event counts, and whether the log is to have it.
func (v *Verifier) account(topic, reason string) (as string, say bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.topics[topic] && len(v.topics) >= maxTopics {
		topic = otherTopics
	}
	v.topics[topic] = true
	about := [2]string{topic, reason}
	if say = time.Since(v.said[about]) > quiet; say {
		v.said[about] = time.Now()
	}
	return topic, say
}
