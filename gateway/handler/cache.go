package handler

import (
	"bytes"
	"container/list"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
)

const (
	cacheSize = 64 << 20 // bytes of all answers that are kept
	largest   = 1 << 20  // bytes of one
	overhead  = 512      // bytes that one costs beside its text, roughly
)

// cache keeps answers of routes that say for how long. An answer is kept for who has asked alone: its key holds the
// caller, and those request headers that answers usually vary by. Of many requests for what is not kept one goes to the
// upstream, and the others wait for its answer.
//
// It keeps less than a cache might (RFC 9111, section 3): only 200, only answers that came whole, none with Set-Cookie,
// none that say no-store, no-cache, private, or Vary by anything that is not in the key.
type cache struct {
	room int

	mu      sync.Mutex
	kept    map[string]*list.Element // of *answer
	oldest  *list.List               // least recently used first
	size    int
	flights map[string]chan struct{} // closed when the answer is there, or there will be none
	cleared int                      // how often
}

// answer is one that is kept.
type answer struct {
	key    string
	fields [][2]string
	kind   string // its Content-Type
	body   []byte
	at     time.Time
	until  time.Time
}

func newCache(room int) *cache {
	return &cache{room: room, kept: map[string]*list.Element{}, oldest: list.New(), flights: map[string]chan struct{}{}}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.kept)
	c.oldest.Init()
	c.size = 0
	c.cleared++
}

// varies are the request headers that an answer may vary by and still be kept, in lower case. They are part of the key.
var varies = []string{"accept", "accept-encoding", "accept-language", "origin"}

// unkeyed are the request headers that are not part of the key: answers depend on none of them, or say so in Vary. Every other header may
// hold credentials, such as X-Api-Key, or be what an answer was made from.
var unkeyed = http1.NewHeaderFilter(
	"Authorization", // the caller is part of the key
	"Host", "Connection", "Keep-Alive", "TE", "Via", "Cache-Control", "Pragma", "Priority", "DNT", "Upgrade-Insecure-Requests", "User-Agent", "Referer",
	"Sec-*", "Traceparent", "Tracestate", "X-Request-Id", "X-Forwarded", "X-Forwarded-*", "Forwarded", "X-Real-IP", "Mesh-Api-Version",
)

// keepable tells whether a request may be answered by what is kept: a plain GET of a whole.
func keepable(x *http1.Exchange) bool {
	if string(x.Method()) != http.MethodGet || x.BodySize() != 0 || x.IsUpgrade() {
		return false
	}
	for _, name := range []string{"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "cookie"} {
		if x.Get(name) != nil {
			return false
		}
	}
	control := string(x.Get("cache-control"))
	return !has(control, "no-cache") && !has(control, "no-store")
}

// keyOf returns the key of a cached answer: the request, and the caller with the caller's present rights. An answer that was made for
// other rights is never served. Callers with a token that the mesh does not know are told apart by it.
func (g *Gateway) keyOf(x *http1.Exchange, claims *auth.Claims) string {
	var b bytes.Buffer
	part := func(s []byte) {
		b.Write(strconv.AppendInt(nil, int64(len(s)), 10))
		b.WriteByte(':')
		b.Write(s)
	}
	part(bytes.ToLower(x.Host()))
	part(x.Target())
	for _, f := range x.Fields() {
		if !unkeyed.Drops(f.Name) {
			part(bytes.ToLower(f.Name))
			part(f.Value)
		}
	}
	part(nil) // fields have names
	if claims == nil {
		part(x.Get("authorization"))
	} else {
		for _, s := range []string{claims.UserID, claims.AppID, claims.ActiveOrg, claims.RoleList()} {
			part([]byte(s))
		}
		for _, permission := range g.cfg.Permits.Permissions(claims) {
			part([]byte(permission))
		}
	}
	return b.String()
}

// answer answers a request from what is kept; or forward does, which is told where to record, and tells whether the client got all.
func (c *cache) answer(x *http1.Exchange, key string, ttl time.Duration, forward func(http1.Recorder) bool) {
	for waited := false; ; waited = true {
		a, flight, mine := c.look(key)
		switch {
		case a != nil:
			serve(x, a)
			return
		case mine:
			c.lead(x, key, ttl, flight, forward)
			return
		case waited: // what somebody else asked for could not be kept
			forward(nil)
			return
		}
		select {
		case <-flight:
		case <-x.Context().Done():
			forward(nil) // which finds out why
			return
		}
	}
}

// look gives what is kept; or whom to wait for; or makes that the caller.
func (c *cache) look(key string) (a *answer, flight chan struct{}, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.kept[key]; e != nil {
		a := e.Value.(*answer)
		if time.Now().Before(a.until) {
			c.oldest.MoveToBack(e)
			return a, nil, false
		}
		c.drop(e)
	}
	if f := c.flights[key]; f != nil {
		return nil, f, false
	}
	f := make(chan struct{})
	c.flights[key] = f
	return nil, f, true
}

// lead asks the upstream on behalf of all who wait.
func (c *cache) lead(x *http1.Exchange, key string, ttl time.Duration, flight chan struct{}, forward func(http1.Recorder) bool) {
	rec := &recorder{a: answer{key: key, at: time.Now()}, ttl: ttl}
	whole := false
	c.mu.Lock()
	cleared := c.cleared
	c.mu.Unlock()
	defer func() { // whatever becomes of it, nobody waits for ever
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.flights, key)
		if whole && rec.keep && c.cleared == cleared {
			c.put(&rec.a)
		}
		close(flight)
	}()
	x.Header().Set("X-Cache", "MISS")
	whole = forward(rec)
}

func (c *cache) put(a *answer) {
	if e := c.kept[a.key]; e != nil {
		c.drop(e)
	}
	c.kept[a.key] = c.oldest.PushBack(a)
	for c.size += a.cost(); c.size > c.room; {
		c.drop(c.oldest.Front())
	}
}

func (c *cache) drop(e *list.Element) {
	a := c.oldest.Remove(e).(*answer)
	delete(c.kept, a.key)
	c.size -= a.cost()
}

func (a *answer) cost() int {
	n := overhead + len(a.key) + len(a.body)
	for _, f := range a.fields {
		n += len(f[0]) + len(f[1])
	}
	return n
}

func serve(x *http1.Exchange, a *answer) {
	h := x.Header()
	for _, f := range a.fields {
		if strings.EqualFold(f[0], "vary") || h.Get(f[0]) == "" { // what the gateway has set itself is not set twice
			h.Add(f[0], f[1])
		}
	}
	h.Set("Age", strconv.Itoa(int(time.Since(a.at)/time.Second)))
	h.Set("X-Cache", "HIT")
	x.Respond(http.StatusOK, a.kind, a.body)
}

// recorder takes an answer down, as long as it may be kept. A second try of the request begins anew.
type recorder struct {
	a    answer
	ttl  time.Duration
	keep bool
}

var _ http1.Recorder = (*recorder)(nil)

// Head implements http1.Recorder.
func (r *recorder) Head(status int, fields func(yield func(name, value []byte) bool)) {
	r.a.fields, r.a.kind, r.a.body = nil, "", nil
	r.keep = status == http.StatusOK
	life := r.ttl
	for name, value := range fields {
		switch v := string(value); strings.ToLower(string(name)) {
		case "set-cookie", "www-authenticate":
			r.keep = false
		case "cache-control":
			r.keep = r.keep && !has(v, "no-store") && !has(v, "no-cache") && !has(v, "private")
			life = min(life, freshness(v, life))
		case "vary":
			r.keep = r.keep && onlyVaries(v)
			r.a.fields = append(r.a.fields, [2]string{string(name), v})
		case "content-type":
			r.a.kind = v
		case "content-length", "date", "age", "x-cache", "x-request-id":
		default:
			r.a.fields = append(r.a.fields, [2]string{string(name), v})
		}
	}
	r.a.until = r.a.at.Add(life)
	r.keep = r.keep && life > 0
}

// Data implements http1.Recorder.
func (r *recorder) Data(b []byte) {
	if r.keep = r.keep && len(r.a.body)+len(b) <= largest; r.keep {
		r.a.body = append(r.a.body, b...)
	}
}

// has tells whether a list such as Cache-Control holds a directive, with a value or without.
func has(list, directive string) bool {
	for part := range strings.SplitSeq(list, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(name, directive) {
			return true
		}
	}
	return false
}

// freshness is what Cache-Control allows, s-maxage before max-age; otherwise where it says nothing.
func freshness(control string, otherwise time.Duration) time.Duration {
	out := otherwise
	for part := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(strings.Trim(value, `"`))
		if err != nil || n < 0 {
			continue
		}
		if d := time.Duration(min(n, 1<<31)) * time.Second; strings.EqualFold(name, "s-maxage") {
			return d
		} else if strings.EqualFold(name, "max-age") {
			out = d
		}
	}
	return out
}

// onlyVaries tells whether Vary names nothing but what is in the key.
func onlyVaries(vary string) bool {
	for part := range strings.SplitSeq(vary, ",") {
		name := strings.ToLower(strings.TrimSpace(part))
		known := name == "" || name == "authorization" // the caller is in the key
		for _, v := range varies {
			known = known || v == name
		}
		if !known {
			return false
		}
	}
	return true
}
