package handler

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/events"
)

// EventsPath is the path of the stream of events (server-sent events).
const EventsPath = "/gateway-svc/events"

// keepAlive is how often a stream without events sends a comment, so that nobody on the way closes it.
const keepAlive = 15 * time.Second

// unread is how many bytes of events lie on the way to a client that doesn't read them. No more are checked and decoded
// for it before it does.
const unread = 64 << 10

// EventStream serves events, decoded. Query: topics (with commas; all if unset), since (a duration back,
// such as 10m; only new events if unset).
type EventStream struct {
	Events  *events.Verifier
	Gateway *Gateway
}

// ServeHTTP1 streams until the client leaves, or its token expires or is revoked.
func (s *EventStream) ServeHTTP1(x *http1.Exchange) {
	token := auth.Bearer(string(x.Get("authorization")))
	if err := s.allowed(token); err != nil {
		s.Gateway.fail(x, err)
		return
	}
	q, err := queryOf(x)
	if err != nil {
		s.Gateway.fail(x, err)
		return
	}
	o, err := tailOptions(q)
	if err != nil {
		s.Gateway.fail(x, err)
		return
	}
	x.Header().Set("Cache-Control", "no-store")
	out := x.Stream(http.StatusOK, "text/event-stream", -1)
	out.Bound(unread)
	if string(x.Method()) == http.MethodHead || out.Flush() != nil {
		return
	}
	records := make(chan events.Record)
	done := make(chan struct{})
	ctx := x.Context()
	go func() {
		defer close(done)
		_ = events.Tail(ctx, s.Events, o, func(r events.Record) error { // its end ends the stream, whatever the reason
			select {
			case records <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	s.stream(x, out, token, records, done)
	x.Abort() // the stream has no other end; it ends the context too
	<-done
}

func (s *EventStream) stream(x *http1.Exchange, out *http1.Stream, token string, records <-chan events.Record, done <-chan struct{}) {
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		var msg []byte
		select {
		case r := <-records:
			b, err := json.Marshal(r)
			if err != nil {
				continue
			}
			msg = append(append([]byte("data: "), b...), "\n\n"...)
		case <-alive.C:
			if s.allowed(token) != nil {
				return
			}
			msg = []byte(": alive\n\n")
		case <-done:
			return
		case <-x.Context().Done():
			return
		}
		if _, err := out.Write(msg); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
	}
}

func (s *EventStream) allowed(token string) error {
	return s.Gateway.permitted(token, "gateway-svc:event:view")
}

func tailOptions(q url.Values) (o events.TailOptions, err error) {
	if s := q.Get("since"); s != "" {
		if o.Since, err = time.ParseDuration(s); err != nil || o.Since < 0 {
			return o, errs.Field("since", "type", "must be a duration, such as 10m or 24h")
		}
	}
	for _, t := range strings.Split(q.Get("topics"), ",") {
		if t = strings.TrimSpace(t); t == "" {
			continue
		}
		if strings.ContainsFunc(t, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' }) {
			return o, errs.Field("topics", "format", "must be names of topics with commas between, such as accounts,instances")
		}
		if !slices.Contains(o.Topics, t) {
			o.Topics = append(o.Topics, t)
		}
	}
	return o, nil
}
