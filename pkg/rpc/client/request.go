package client

import (
	"strings"

	"go-micro.dev/v5/client"
	"go-micro.dev/v5/codec"
)

// request is a client.Request.
type request struct {
	service, endpoint, contentType string
	body                           any
	stream                         bool
}

var _ client.Request = (*request)(nil)

// NewRequest makes a request for an endpoint "Handler.Method", or a whole gRPC path "/package.Service/Method". The
// content type is the client's unless an option names one.
func (c *Client) NewRequest(service, endpoint string, body any, opts ...client.RequestOption) client.Request {
	var o client.RequestOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.ContentType == "" {
		c.mu.RLock()
		o.ContentType = c.defaults.ContentType
		c.mu.RUnlock()
	}
	return &request{service: service, endpoint: endpoint, contentType: o.ContentType, body: body, stream: o.Stream}
}

func (r *request) Service() string     { return r.service }
func (r *request) Method() string      { return r.endpoint }
func (r *request) Endpoint() string    { return r.endpoint }
func (r *request) ContentType() string { return r.contentType }
func (r *request) Body() any           { return r.body }
func (r *request) Codec() codec.Writer { return nil }
func (r *request) Stream() bool        { return r.stream }

// message is a client.Message, which can't be published.
type message struct {
	topic, contentType string
	payload            any
}

var _ client.Message = (*message)(nil)

// NewMessage makes a message. It is here for go-micro: see Publish.
func (c *Client) NewMessage(topic string, payload any, opts ...client.MessageOption) client.Message {
	o := client.MessageOptions{ContentType: contentTypeProto}
	for _, opt := range opts {
		opt(&o)
	}
	return &message{topic: topic, contentType: o.ContentType, payload: payload}
}

func (m *message) Topic() string       { return m.topic }
func (m *message) Payload() any        { return m.payload }
func (m *message) ContentType() string { return m.contentType }

// path gives the gRPC path of an endpoint, as go-micro's servers expect it: "/service.Handler/Method". What is a path
// already stays as it is.
func path(service, endpoint string) string {
	if strings.HasPrefix(endpoint, "/") {
		return endpoint
	}
	handler, method, ok := strings.Cut(endpoint, ".")
	if !ok || strings.Contains(method, ".") {
		return "/" + endpoint // no server knows it, and says so
	}
	if service == "" {
		return "/" + handler + "/" + method
	}
	return "/" + service + "." + handler + "/" + method
}
