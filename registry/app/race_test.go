package app_test

import (
	"fmt"
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

// ownership is what a URL must behave like: a register that holds whose it is.
var ownership = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		owner, in, out := state.(string), input.(attempt), output.(outcome)
		switch {
		case in.what == "look":
			return out.owner == owner, owner
		case in.what == "register" && (owner == "" || owner == in.as):
			return out.status == 200, in.as
		case in.what == "register":
			return out.status == 409, owner
		case owner != in.whose:
			return out.status == 404, owner
		case in.as != in.whose:
			return out.status == 403, owner
		}
		return out.status == 200, ""
	},
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
	for _, h := range histories {
		h.note(len(owners), attempt{what: "look"}, outcome{owner: looked[h.url()]}, time.Since(h.started))
		if !porcupine.CheckOperations(ownership, h.ops) {
			t.Fatalf("%s: no order explains what was answered:%s", h.url(), h)
		}
	}
}
