package service

import (
	"context"
	"errors"
)

// Forwarder sends events.
type Forwarder struct {
	format Format
	target Target
	meter  Meter
}

// New makes a forwarder.
func New(format Format, target Target, meter Meter) *Forwarder {
	return &Forwarder{format: format, target: target, meter: meter}
}

// outgoing is an event of a batch.
type outgoing struct {
	place int
	topic string
	json  []byte
}

// Forward sends events in their order, and gives an error for each that the target has not taken, by its place: a
// *RefusedError, or a *TargetError. After a failure nothing more is sent: all later events have it too.
func (f *Forwarder) Forward(ctx context.Context, batch []Event) []error {
	results := make([]error, len(batch))
	var all []outgoing
	for i, e := range batch {
		b, err := f.format.Encode(e)
		if err != nil {
			results[i] = &RefusedError{err.Error()}
			continue
		}
		all = append(all, outgoing{i, e.Topic, b})
	}
	for len(all) > 0 {
		n := f.fitting(all)
		if err := f.send(ctx, all[:n], results); err != nil {
			for _, o := range all[n:] {
				results[o.place] = err
			}
			return results
		}
		all = all[n:]
	}
	return results
}

// fitting is how many of the first events go into one request; one that is too large goes alone.
func (f *Forwarder) fitting(all []outgoing) int {
	most, left := f.format.Limits()
	const frame = 2 // brackets
	left -= frame
	n := 0
	for n < len(all) && n < most {
		if left -= len(all[n].json) + 1; left < 0 {
			break
		}
		n++
	}
	return max(n, 1)
}

// send sends events in one request, or where the target can't take them together, in more. The error is the one that ends it.
func (f *Forwarder) send(ctx context.Context, part []outgoing, results []error) error {
	batch := make([][]byte, len(part))
	for i, o := range part {
		batch[i] = o.json
	}
	refused, err := f.target.Send(ctx, batch)
	if err == nil {
		f.taken(part, refused, results)
		return nil
	}
	failure, ok := errors.AsType[*TargetError](err)
	if ok {
		f.meter.Failed(failure.Reason)
	}
	switch {
	case ok && failure.Split && len(part) == 1:
		results[part[0].place] = &RefusedError{failure.Cause.Error()}
		return nil
	case ok && failure.Split:
		half := len(part) / 2
		if err := f.send(ctx, part[:half], results); err != nil {
			return fail(part[half:], results, err)
		}
		return f.send(ctx, part[half:], results)
	}
	return fail(part, results, err)
}

func fail(part []outgoing, results []error, err error) error {
	for _, o := range part {
		results[o.place] = err
	}
	return err
}

// taken notes what became of the events of a request.
func (f *Forwarder) taken(part []outgoing, refused map[int]string, results []error) {
	for i, o := range part {
		if why, ok := refused[i]; ok {
			results[o.place] = &RefusedError{why}
			continue
		}
		f.meter.Forwarded(o.topic)
	}
}
