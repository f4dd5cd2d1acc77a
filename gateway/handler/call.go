package handler

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"micromesh/gateway/http1"
	"micromesh/gateway/service"
	"micromesh/gateway/transcode"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	"micromesh/pkg/meshpb"
	"micromesh/pkg/routing"
	"micromesh/pkg/rpc/client"
	"micromesh/pkg/telemetry"
)

// longestAwait is how long an answer is held back until the table shows what the call has changed. The change is made
// by then in any case: only this gateway may learn of it a moment later.
const longestAwait = 500 * time.Millisecond

// call routes a request of a slug with bindings to its RPC method; or to an instance, if the slug has those too and no binding has
// such a path.
func (g *Gateway) call(x *http1.Exchange, set *routeSet, bindings *transcode.Bindings, slug string) route {
	method := string(x.Method())
	if method == http.MethodOptions {
		g.options(x)
		return routeRPC
	}
	b, params, allowed := bindings.Match(slug, method, string(x.Path()))
	switch {
	case b != nil && set.closed.Method(b.Service, b.Endpoint):
		g.fail(x, closedMethod(b.Service, b.Endpoint))
	case b != nil:
		g.transcode(x, b, params)
	case len(allowed) == 0:
		if group := g.cfg.Table.Slug(slug); group.Size() > 0 {
			return g.beside(x, set, bindings, slug, group)
		}
		fallthrough
	default:
		g.unbound(x, slug, allowed)
	}
	return routeRPC
}

// beside forwards a request to an instance of a slug with bindings. The instance may read the path as one that a binding has: the
// binding's access rule applies then.
func (g *Gateway) beside(x *http1.Exchange, set *routeSet, bindings *transcode.Bindings, slug string, group *service.Group) route {
	closed := func(b *transcode.Binding) bool { return set.closed.Method(b.Service, b.Endpoint) }
	paths := []string{string(x.Path())}
	w := set.table.Slug(slug)
	if w != nil {
		paths = append(paths, w.Path(paths[0])) // the instance receives this one
	}
	for _, path := range paths {
		cover, err := bindings.Cover(slug, string(x.Method()), path, closed)
		switch {
		case err != nil:
			x.Fail(http.StatusBadRequest, "AMBIGUOUS_PATH", err.Error())
			return routeRPC
		case cover.Closed || len(cover.Allowed) > 0:
			g.unbound(x, slug, cover.Allowed)
			return routeRPC
		case cover.Binding != nil:
			if err := g.authorize(cover.Binding, auth.Bearer(string(x.Get("authorization")))); err != nil {
				g.fail(x, err)
				return routeRPC
			}
		}
	}
	rewrite(x, w)
	g.forward(x, group, nil)
	return routeSlug
}

// transcode checks the request, and makes a call of it.
func (g *Gateway) transcode(x *http1.Exchange, b *transcode.Binding, params []string) {
	token := auth.Bearer(string(x.Get("authorization")))
	if err := g.authorize(b, token); err != nil {
		g.fail(x, err)
		return
	}
	if err := acceptable(x); err != nil {
		g.fail(x, err)
		return
	}
	body, err := x.ReadBody(g.cfg.MaxMessage)
	if err != nil {
		x.Refuse(err)
		return
	}
	if version2(x) {
		err = b.Unknown(body, string(x.RawQuery()))
	}
	if err != nil {
		g.fail(x, err)
		return
	}
	msg, err := b.Message(body, params, string(x.RawQuery()))
	if err != nil {
		g.fail(x, err)
		return
	}
	g.invoke(x, b, msg, token)
}

// rawCall calls a method with metadata.
type rawCall func(ctx context.Context, md metadata.MD) ([]byte, metadata.MD, error)

// invoke calls the method and passes its answer on.
func (g *Gateway) invoke(x *http1.Exchange, b *transcode.Binding, msg []byte, token string) {
	g.passOn(x, b, token, func(ctx context.Context, md metadata.MD) ([]byte, metadata.MD, error) {
		return g.cfg.RPC.Raw(ctx, b.Service, b.Endpoint, "json", msg, md)
	})
}

// passOn makes a call and passes its answer on.
func (g *Gateway) passOn(x *http1.Exchange, b *transcode.Binding, token string, call rawCall) {
	ctx, cancel := context.WithTimeout(x.Context(), g.cfg.CallTimeout)
	defer cancel()
	ctx, span := telemetry.Start(telemetry.Extract(ctx, traceparent(x)), b.Method+" "+b.Pattern)
	ctx = client.WithCaller(ctx, func() string { return g.callerOf(x, token) })
	md := g.metadata(ctx, x, g.tokenFor(ctx, b.Service, token))
	answer, trailer, err := call(ctx, md)
	failed := ""
	if e := errs.From(err); e != nil && e.Status() >= http.StatusInternalServerError {
		failed = e.Code
	}
	telemetry.End(span, failed)
	if err != nil {
		g.fail(x, err)
		return
	}
	g.await(ctx, trailer)
	x.Header().Set("Cache-Control", "no-store")
	if b.Differs() {
		x.Header().Add("Vary", "Mesh-Api-Version")
	}
	if b.Success == http.StatusNoContent {
		x.Respond(b.Success, "", nil)
		return
	}
	if !version2(x) {
		answer = b.Older(answer)
	}
	x.Respond(b.Success, jsonType, answer)
}

// metadata is all that a service is told of the request: nothing of it was taken from headers that name an identity.
func (g *Gateway) metadata(ctx context.Context, x *http1.Exchange, token string) metadata.MD {
	md := metadata.MD{
		"x-request-id":   {requestID(x)},
		telemetry.Header: {telemetry.Traceparent(ctx)},
		"x-client-ip":    {x.ClientIP().String()},
	}
	if version2(x) {
		md["mesh-api-version"] = []string{"2"}
	}
	if token != "" {
		md["authorization"] = []string{"Bearer " + token}
	}
	return md
}

// callerOf returns a name for the caller that no other caller has: by a verified token, or by the connection. It returns nothing
// if neither tells callers apart.
func (g *Gateway) callerOf(x *http1.Exchange, token string) string {
	if token != "" {
		if c, err := g.cfg.Verifier.Verify(token); err == nil {
			return "user " + c.UserID
		}
	}
	if id := x.SoleConn(); id != 0 {
		return "connection " + strconv.FormatUint(id, 10)
	}
	return ""
}

// authorize checks the caller here already, so that a request without permission costs a service nothing. The service
// checks again.
func (g *Gateway) authorize(b *transcode.Binding, token string) error {
	if b.Access.GetCaller() == meshpb.Caller_CALLER_PUBLIC {
		return nil
	}
	claims, err := g.cfg.Verifier.Verify(token)
	if err != nil {
		return err
	}
	return auth.Authorize(b.Access, claims, g.cfg.Permits)
}

// acceptable refuses bodies that are certainly no JSON. A missing or a wrong content type is forgiven as long as the
// body is JSON: clients of this API always could leave it out.
func acceptable(x *http1.Exchange) error {
	if enc := x.Get("content-encoding"); len(enc) > 0 && !strings.EqualFold(string(enc), "identity") {
		return errs.New(errs.Unsupported, "", "send the body without a content encoding")
	}
	if ct := string(x.Get("content-type")); strings.HasPrefix(strings.ToLower(ct), "multipart/") {
		return errs.New(errs.Unsupported, "", "send the body as application/json")
	}
	return nil
}

func (g *Gateway) unbound(x *http1.Exchange, slug string, allowed []string) {
	if len(allowed) > 0 {
		x.Header().Set("Allow", strings.Join(allowed, ", "))
		x.Fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "this path takes "+strings.Join(allowed, ", "))
		return
	}
	x.Fail(http.StatusNotFound, "NOT_FOUND", slug+" has no such path: see /openapi.json")
}

// await holds the answer back until the routing table shows what the call has changed.
func (g *Gateway) await(ctx context.Context, trailer metadata.MD) {
	v := trailer.Get(routing.AwaitTrailer)
	if len(v) == 0 {
		return
	}
	var list []routing.Await
	if err := json.Unmarshal([]byte(v[0]), &list); err != nil {
		g.cfg.Logger.Error("await_refused", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, longestAwait)
	defer cancel()
	for {
		changed := g.cfg.Table.Changed()
		if g.shows(list) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gateway) shows(list []routing.Await) bool {
	for _, a := range list {
		if g.present(a) == a.Gone {
			return false
		}
	}
	return true
}

// present tells whether the table has what is named: with the target, where one is named.
func (g *Gateway) present(a routing.Await) bool {
	if a.Host != "" {
		target, ok := g.cfg.Table.Target(a.Host)
		return ok && (a.Target == "" || a.Target == target)
	}
	b := g.cfg.Table.Slug(a.Slug).Find(a.Instance)
	return b != nil && (a.Target == "" || a.Target == b.URL)
}
