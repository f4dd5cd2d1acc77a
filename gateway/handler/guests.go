package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	merrors "go-micro.dev/v5/errors"
	"google.golang.org/grpc/metadata"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/telemetry"
)

// subtypes are the encodings that programs in plain go-micro may call in, by their content type. A program with a gRPC server may pass on the
// content type of the call that it serves, in place of that of its own message.
var subtypes = map[string]string{
	jsonType: "json", "application/protobuf": "proto", "application/grpc": "any", "application/grpc+json": "any", "application/grpc+proto": "any",
}

// encodingOf returns the encoding of a message, or nothing if services don't have it.
func encodingOf(contentType string, body []byte) string {
	subtype := subtypes[contentType]
	if subtype != "any" {
		return subtype
	}
	if b := bytes.TrimSpace(body); len(b) > 0 && b[0] == '{' && json.Valid(b) {
		return "json"
	}
	return "proto"
}

// Guests answers calls that programs in plain go-micro make with go-micro's own client: POST / with the service and the method in headers,
// and a message in JSON or protobuf. They reach what callers of the HTTP API reach, the methods that have a binding, and meet the same
// checks: where such a call comes from makes nobody more trusted.
type Guests struct{ Gateway *Gateway }

var _ http1.Handler = (*Guests)(nil)

// ServeHTTP1 answers one call.
func (h *Guests) ServeHTTP1(x *http1.Exchange) {
	g := h.Gateway
	began := time.Now()
	g.ids.assign(x)
	service, endpoint := string(x.Get("micro-service")), string(x.Get("micro-endpoint"))
	if string(x.Method()) != http.MethodPost || string(x.Path()) != "/" || service == "" || endpoint == "" {
		x.Fail(http.StatusNotFound, "NOT_FOUND", "clients of go-micro alone are answered here")
		g.metrics.observe(routeNone, x.Status(), time.Since(began))
		return
	}
	body, err := x.ReadBody(g.cfg.MaxMessage)
	if err != nil {
		x.Refuse(err)
		g.metrics.observe(routeRPC, x.Status(), time.Since(began))
		return
	}
	status := http.StatusOK
	answer, err := h.call(x, service, endpoint, body)
	if err != nil {
		status, answer = errs.From(err).Status(), nil
		x.Header().Set("Micro-Error", h.microError(x, service, err))
	}
	x.Header().Set("Cache-Control", "no-store")
	contentType := string(x.Get("content-type"))
	switch encodingOf(contentType, body) {
	case "json", "":
		contentType = jsonType
	case "proto":
		contentType = "application/protobuf"
	}
	x.Respond(http.StatusOK, contentType, answer) // by other statuses a client of go-micro takes the connection for broken
	g.metrics.observe(routeRPC, status, time.Since(began))
}

// errUnencodable is the error of a call in an encoding that services don't have.
var errUnencodable = errs.New(errs.Unsupported, "", "call with content type application/json or application/protobuf")

// call answers a call over HTTP.
func (h *Guests) call(x *http1.Exchange, service, endpoint string, body []byte) ([]byte, error) {
	c := guestCall{
		service: service, endpoint: endpoint, subtype: encodingOf(string(x.Get("content-type")), body), body: body,
		token: auth.Bearer(string(x.Get("authorization"))), trace: traceparent(x),
	}
	if c.subtype == "" {
		return nil, errUnencodable
	}
	if err := acceptable(x); err != nil {
		return nil, err
	}
	c.metadata = func(ctx context.Context) metadata.MD { return h.Gateway.metadata(ctx, x, c.token) }
	return h.invoke(x.Context(), &c)
}

// guestCall is a call of a guest, whatever protocol it came by.
type guestCall struct {
	service, endpoint string
	subtype           string // "json" or "proto"
	body              []byte
	token, trace      string
	metadata          func(context.Context) metadata.MD // that the service is sent
}

// invoke checks the caller, and calls the method.
func (h *Guests) invoke(ctx context.Context, c *guestCall) ([]byte, error) {
	g := h.Gateway
	b := g.cfg.Bindings.Load().Endpoint(c.service, c.endpoint)
	if b == nil {
		return nil, errs.New(errs.NotFound, "NO_METHOD", "%s has no method %s that can be called from here: see /openapi.json", quote([]byte(c.service)), quote([]byte(c.endpoint)))
	}
	if g.cfg.Routes.set().closed.Method(c.service, c.endpoint) {
		return nil, closedMethod(c.service, c.endpoint)
	}
	if err := g.authorize(b, c.token); err != nil {
		return nil, err
	}
	body := c.body
	if c.subtype == "json" {
		var err error
		if body, err = b.Body(body); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.CallTimeout)
	defer cancel()
	ctx, span := telemetry.Start(telemetry.Extract(ctx, c.trace), c.service+"/"+c.endpoint)
	answer, trailer, err := g.cfg.RPC.Raw(ctx, c.service, c.endpoint, c.subtype, body, c.metadata(ctx))
	failed := ""
	if e := errs.From(err); e != nil && e.Status() >= http.StatusInternalServerError {
		failed = e.Code
	}
	telemetry.End(span, failed)
	if err != nil {
		return nil, err
	}
	g.await(ctx, trailer)
	return answer, nil
}

// log logs an error that is the mesh's own.
func (h *Guests) log(ctx context.Context, service, id string, e *errs.Error, cause error) {
	if e.Kind == errs.Internal {
		h.Gateway.cfg.Logger.ErrorContext(ctx, "request_failed", "error", cause, "request_id", id, "service", service)
	}
}

// microError is an error as go-micro tells it in a header.
func (h *Guests) microError(x *http1.Exchange, service string, err error) string {
	e := errs.From(err)
	h.log(x.Context(), service, requestID(x), e, err)
	status := e.Status()
	m := merrors.Error{Id: service, Code: int32(status), Detail: e.Message, Status: http.StatusText(status)} //nolint:gosec // three digits
	return ascii(m.Error())
}

// ascii writes what a header can't hold as JSON's escapes: outside of its strings, JSON is ASCII anyway.
func ascii(text string) string {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		if r < utf8.RuneSelf {
			out = append(out, byte(r)) //nolint:gosec // it is ASCII
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return string(out)
}
