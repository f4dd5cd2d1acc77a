package service

import (
	"encoding/json"
	"errors"
)

// CloudEvents is CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
// The type is the event's own, such as "micromesh.accounts.ACCOUNT_REGISTERED".
type CloudEvents struct {
	Single bool // each event in a request of its own
}

var _ Format = CloudEvents{}

// cloudEventsBytes of a request at most: the specification names no limit.
const cloudEventsBytes = 4 << 20

// Limits implements Format.
func (c CloudEvents) Limits() (events, bytes int) {
	if c.Single {
		return 1, cloudEventsBytes
	}
	return 5000, cloudEventsBytes
}

type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        string          `json:"time,omitempty"`
	ContentType string          `json:"datacontenttype"`
	Schema      string          `json:"dataschema,omitempty"`
	Trace       string          `json:"traceparent,omitempty"` // https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
	Data        json.RawMessage `json:"data"`
}

// Encode implements Format.
func (CloudEvents) Encode(e Event) ([]byte, error) {
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return nil, errors.New("the event lacks an id, a source or a type, which CloudEvents must have")
	}
	return json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time, ContentType: "application/json",
		Schema: e.Schema, Trace: e.Trace, Data: e.Data,
	})
}
