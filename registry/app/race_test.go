package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"micromesh/pkg/errs"
	"micromesh/registry/app"
)

// attempt is what an account does to a URL: it registers its own instance there, removes somebody's, or looks whose it is.
type attempt struct {
	as    string
	what  string // "register", "remove" or "look"
	whose string // the instance that is removed
}

// outcome is what came of it.
type outcome struct {
	status int
	owner  string // that was seen
}

// ownership is what a URL must behave like: a register that holds whose it is. What was answered with 503, because the
// machine was too busy, has happened or has not.
var ownership = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{""} },
	Step: func(state, input, output any) []any {
		owner, in, out := state.(string), input.(attempt), output.(outcome)
		if in.what == "look" {
			if out.owner != owner {
				return nil
			}
			return []any{owner}
		}
		status, next := due(owner, in)
		switch out.status {
		case status:
			return []any{next}
		case http.StatusServiceUnavailable:
			return []any{owner, next}
		}
		return nil
	},
}).ToModel()

// due is what an attempt at a URL of an owner is to be answered, and whose the URL is then.
func due(owner string, in attempt) (status int, next string) {
	switch {
	case in.what == "register" && (owner == "" || owner == in.as):
		return http.StatusOK, in.as
	case in.what == "register":
		return http.StatusConflict, owner
	case owner != in.whose:
		return http.StatusNotFound, owner
	case in.as != in.whose:
		return http.StatusForbidden, owner
	}
	return http.StatusOK, ""
}

// history is what accounts did to one URL, and what came of it.
type history struct {
	m       *mesh
	n       int // of the URL
	started time.Time

	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) url() string { return fmt.Sprintf("http://127.1.%d.%d:81", h.n/250, h.n%250+1) }

// try makes an attempt and notes it.
func (h *history) try(client int, in attempt) {
	call := time.Since(h.started)
	var err error
	if in.what == "register" {
		_, err = h.m.register(in.as, fmt.Sprintf(`{"id":"%s-%d","url":%q}`, in.as, h.n, h.url()))
	} else {
		err = h.m.call(in.as, "RemoveInstance", fmt.Sprintf(`{"id":"%s-%d"}`, in.whose, h.n), nil)
	}
	out := outcome{status: 200}
	if e := errs.From(err); e != nil {
		out.status = e.Kind.Status()
	}
	h.note(client, in, out, call)
}

func (h *history) note(client int, in attempt, out outcome, call time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(call), Return: int64(time.Since(h.started))})
}

// String tells who asked what when, and what was answered.
func (h *history) String() string {
	var b strings.Builder
	for _, op := range h.ops {
		fmt.Fprintf(&b, "\n\t%v to %v: %+v: %+v", time.Duration(op.Call), time.Duration(op.Return), op.Input, op.Output)
	}
	return b.String()
}

// race has owners do the same things at once: each registers, removes the next one's instance and its own, and registers
// again.
func (h *history) race(owners []string) {
	var wg sync.WaitGroup
	for i, as := range owners {
		wg.Go(func() {
			h.try(i, attempt{as: as, what: "register"})
			h.try(i, attempt{as: as, what: "remove", whose: owners[(i+1)%len(owners)]})
			h.try(i, attempt{as: as, what: "remove", whose: as})
			h.try(i, attempt{as: as, what: "register"})
		})
	}
	wg.Wait()
}

// TestOwnersRaceForURLs has accounts race for a thousand URLs, and checks that what each of them was told could have
// happened one after the other: so nobody got a URL that was another's.
func TestOwnersRaceForURLs(t *testing.T) {
	// They live as long as the test, although nobody listens there.
	m := start(t, func(c *app.Config) { c.Lease, c.CheckInterval = time.Hour, time.Minute })
	owners := []string{"cats", "dogs", "emus"}
	histories := make([]*history, 1000)
	for i := range histories {
		histories[i] = &history{m: m, n: i, started: time.Now()}
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(histories, 125) {
		wg.Go(func() {
			for _, h := range part {
				h.race(owners)
			}
		})
	}
	wg.Wait()
	looked := map[string]string{}
	for _, in := range m.list("admin", `{"scheme":"http"}`) {
		looked[in.URL] += in.Slug
	}
	busy := 0
	for _, h := range histories {
		for _, op := range h.ops {
			if op.Output.(outcome).status == http.StatusServiceUnavailable {
				busy++
			}
		}
		h.note(len(owners), attempt{what: "look"}, outcome{owner: looked[h.url()]}, time.Since(h.started))
		if !porcupine.CheckOperations(ownership, h.ops) {
			t.Fatalf("%s: no order explains what was answered:%s", h.url(), h)
		}
	}
	if attempts := 4 * len(owners) * len(histories); busy > attempts/100 {
		t.Errorf("%d of %d attempts were answered with 503", busy, attempts)
	}
}
