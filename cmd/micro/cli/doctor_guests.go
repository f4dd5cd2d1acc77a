package cli

import (
	"context"
	"errors"
	"net/http"

	"micromesh/pkg/errs"
)

// adviceMissing is for programs that the mesh can't see.
const adviceMissing = "one that is missing here was started without MICRO_REGISTRY=nats (go-micro's default is mDNS, which the mesh doesn't hear), " +
	"or with another MICRO_REGISTRY_ADDRESS than the mesh's; see docs/guests.md"

// guests says which programs in plain go-micro were found, and why requests don't reach some of them.
func (d *doctor) guests(ctx context.Context) {
	var list struct {
		Guests []struct {
			Name, Reason string
			Nodes        int
		}
	}
	err := d.api.do(ctx, http.MethodGet, "/gateway-svc/guests", nil, &list)
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind == errs.NotFound {
		return // an older gateway
	}
	if err != nil {
		d.say(levelFail, "go-micro", "look at the log of the gateway", "programs in plain go-micro can't be listed: %s", err)
		return
	}
	joined := 0
	for _, g := range list.Guests {
		if g.Nodes > 0 {
			joined++
		}
		if g.Reason != "" {
			d.say(levelWarn, g.Name, "see docs/guests.md", "a program in plain go-micro that is not reachable: %s", g.Reason)
		}
	}
	d.say(levelOK, "go-micro", adviceMissing, "%s in plain go-micro", count(joined, "program"))
}
