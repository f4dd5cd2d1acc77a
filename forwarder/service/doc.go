// Package service is what the forwarder does: it makes of each event what an analytics service takes, sends many at once,
// and tells those that are refused for good from those that another try may bring there.
package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Event is one that was published, with the attributes of CloudEvents that it has.
type Event struct {
	ID, Source, Type, Subject, Time string
	Topic                           string
	Schema                          string // its hash
	Trace                           string
	Data                            json.RawMessage // a JSON object
}

// Format is how a target takes events.
type Format interface {
	// Encode gives the JSON of an event. An error says that it can't be sent, for good.
	Encode(Event) ([]byte, error)
	// Limits are how many events a request has at most, and how many bytes.
	Limits() (events, bytes int)
}

// Target is where events go.
type Target interface {
	// Send sends events, which are JSON each, in one request. It gives those that the target refuses for good, by their
	// place, with the reason; it has taken the others.
	//
	// Errors: *TargetError, and then it may have taken none, or all.
	Send(ctx context.Context, batch [][]byte) (refused map[int]string, err error)
}

// Meter counts.
type Meter interface {
	// Forwarded counts events that the target has taken.
	Forwarded(topic string)
	// Failed counts requests that have failed, by the reason of their TargetError.
	Failed(reason string)
}

// Reasons of failures.
const (
	ReasonUnreachable = "unreachable" // nothing was answered in time
	ReasonRefused     = "refused"     // the login is not accepted
	ReasonMissing     = "missing"     // there is nothing that takes events at that URL
	ReasonBusy        = "busy"        // too many requests
	ReasonBroken      = "broken"      // the target failed
	ReasonLarge       = "large"       // the batch is too large
	ReasonInvalid     = "invalid"     // something in the batch is not what the target takes
)

// Reasons gives all of them.
func Reasons() []string {
	return []string{ReasonUnreachable, ReasonRefused, ReasonMissing, ReasonBusy, ReasonBroken, ReasonLarge, ReasonInvalid}
}

// TargetError is why a request has failed.
type TargetError struct {
	Reason string
	After  time.Duration // before which another try is of no use; 0 where that is not known
	Split  bool          // fewer events may do, and one alone that fails is refused for good
	Cause  error
}

// Error implements error.
func (f *TargetError) Error() string { return fmt.Sprintf("send events: %s: %v", f.Reason, f.Cause) }

// Unwrap gives the cause.
func (f *TargetError) Unwrap() error { return f.Cause }

// RefusedError says that the target takes an event neither now nor later.
type RefusedError struct{ Why string }

// Error implements error.
func (e *RefusedError) Error() string { return "the event is refused: " + e.Why }
