// Package subscriber gives the forwarder the events of the stream.
package subscriber

import (
	"context"
	"errors"

	"micromesh/forwarder/service"
	"micromesh/pkg/events"
)

// Handle is what a consumer does with a batch of events. What the target refuses becomes a dead letter, what fails is tried again.
func Handle(f *service.Forwarder) func(context.Context, []events.Record) []error {
	return func(ctx context.Context, records []events.Record) []error {
		batch := make([]service.Event, len(records))
		for i, r := range records {
			batch[i] = service.Event{
				ID: r.ID, Source: r.Source, Type: r.Type, Subject: r.Subject, Time: r.Time, Topic: r.Topic, Schema: r.Schema, Trace: r.Trace, Data: r.Data,
			}
		}
		results := f.Forward(ctx, batch)
		for i, err := range results {
			if _, refused := errors.AsType[*service.RefusedError](err); refused {
				results[i] = events.Permanent(err)
			}
			if failure, ok := errors.AsType[*service.TargetError](err); ok {
				results[i] = events.Later(err, failure.After)
			}
		}
		return results
	}
}
