package target

import (
	"context"
	"net/http"

	"micromesh/forwarder/service"
)

// CloudEvents takes CloudEvents at a URL
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md).
type CloudEvents struct {
	poster
	single bool
}

var _ service.Target = (*CloudEvents)(nil)

// NewCloudEvents makes a target that takes events in batches, or in structured mode each in a request of its own.
func NewCloudEvents(cfg Config, single bool) *CloudEvents {
	return &CloudEvents{newPoster(cfg), single}
}

// Send implements service.Target. What is answered with 400 or 422 is looked for by halves: alone it is refused for good.
func (c *CloudEvents) Send(ctx context.Context, batch [][]byte) (refused map[int]string, err error) {
	contentType, body := "application/cloudevents-batch+json", array(batch)
	if c.single && len(batch) == 1 {
		contentType, body = "application/cloudevents+json", batch[0]
	}
	a, err := c.post(ctx, contentType+"; charset=utf-8", body)
	if err != nil {
		return nil, err
	}
	if a.status >= 200 && a.status < 300 {
		return nil, nil
	}
	f := failure(a)
	f.Split = f.Split || a.status == http.StatusBadRequest || a.status == http.StatusUnprocessableEntity
	return nil, f
}
