package handler

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"

	"github.com/nats-io/nats.go/jetstream"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/events"
)

// The paths that list dead letters, and that replay them to their consumers.
const (
	DeadPath   = "/gateway-svc/dead"
	ReplayPath = "/gateway-svc/replay"
)

var consumerName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// DeadLetters serves events that consumers have given up on. Query: consumer (all where it is left out; replay needs it), id
// (of an event; replay alone).
type DeadLetters struct {
	JS      jetstream.JetStream
	Log     *slog.Logger
	Gateway *Gateway
}

func (d *DeadLetters) list(x *http1.Exchange) {
	q, err := d.query(x, "gateway-svc:dead-letter:view", false)
	if err != nil {
		d.Gateway.fail(x, err)
		return
	}
	letters, err := events.DeadLetters(x.Context(), d.JS, q.Get("consumer"))
	d.answer(x, map[string]any{"dead": letters}, err)
}

func (d *DeadLetters) replay(x *http1.Exchange) {
	if string(x.Method()) != http.MethodPost {
		x.Header().Set("Allow", "POST")
		x.Fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "this path takes POST")
		return
	}
	q, err := d.query(x, "gateway-svc:dead-letter:edit", true)
	if err != nil {
		d.Gateway.fail(x, err)
		return
	}
	n, err := events.Replay(x.Context(), d.JS, q.Get("consumer"), q.Get("id"))
	d.Log.Info("events_replayed", "consumer", q.Get("consumer"), "events", n)
	d.answer(x, map[string]any{"replayed": n}, err)
}

// query returns the query of a caller who holds the permission.
func (d *DeadLetters) query(x *http1.Exchange, permission string, named bool) (url.Values, error) {
	if err := d.Gateway.permitted(auth.Bearer(string(x.Get("authorization"))), permission); err != nil {
		return nil, err
	}
	q, err := queryOf(x)
	if err != nil {
		return nil, err
	}
	if name := q.Get("consumer"); (name != "" || named) && !consumerName.MatchString(name) {
		return nil, errs.Field("consumer", "format", "must be the name of a consumer, such as basket-svc")
	}
	return q, nil
}

func (d *DeadLetters) answer(x *http1.Exchange, v any, err error) {
	if err != nil {
		d.Log.Warn("dead_letters_unreadable", "error", err)
		x.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "the dead letters can't be reached right now")
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		d.Gateway.fail(x, err)
		return
	}
	x.Header().Set("Cache-Control", "no-store")
	x.Respond(http.StatusOK, jsonType, b)
}
