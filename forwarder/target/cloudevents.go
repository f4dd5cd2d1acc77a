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
	contentType, body := "application/cloudevents-batch+json", []byte(nil)
	if c.single && len(batch) == 1 {
		contentType, body = "application/cloudevents+json", batch[0]
	} else {
		body = array(batch)
	}
	rsp, _, err := c.post(ctx, contentType+"; charset=utf-8", body)
	if err != nil {
		return nil, err
	}
	if rsp.StatusCode >= 200 && rsp.StatusCode < 300 {
		return nil, nil
	}
	f := failure(rsp)
	f.Split = f.Split || rsp.StatusCode == http.StatusBadRequest || rsp.StatusCode == http.StatusUnprocessableEntity
	return nil, f
}
