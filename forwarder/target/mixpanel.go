package target

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"micromesh/forwarder/service"
)

// Mixpanel takes events by Mixpanel's import, in strict mode (https://developer.mixpanel.com/reference/import-events).
type Mixpanel struct{ poster }

var _ service.Target = (*Mixpanel)(nil)

// NewMixpanel makes a target of a project, whose id may be empty where the user is the project's token. The URL is the base, such
// as https://api.mixpanel.com.
func NewMixpanel(cfg Config, project string) *Mixpanel {
	query := url.Values{"strict": {"1"}}
	if project != "" {
		query.Set("project_id", project)
	}
	cfg.URL = strings.TrimSuffix(cfg.URL, "/") + "/import?" + query.Encode()
	return &Mixpanel{newPoster(cfg)}
}

// strict is Mixpanel's answer where it refuses some events.
type strict struct {
	Failed []struct {
		Index   *int   `json:"index"`
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"failed_records"`
}

// Send implements service.Target.
func (m *Mixpanel) Send(ctx context.Context, batch [][]byte) (refused map[int]string, err error) {
	a, err := m.post(ctx, "application/json", array(batch))
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusOK:
		return nil, nil
	case a.status != http.StatusBadRequest:
		return nil, failure(a)
	}
	f := failure(a)
	var said strict
	if err := json.Unmarshal(a.body, &said); err != nil || len(said.Failed) == 0 {
		return nil, f // it is not about events: a project that there isn't, for one
	}
	refused = map[int]string{}
	for _, r := range said.Failed {
		if r.Index == nil || *r.Index < 0 || *r.Index >= len(batch) {
			f.Cause = fmt.Errorf("%w, and names an event that was not sent", f.Cause)
			return nil, f
		}
		refused[*r.Index] = strings.TrimPrefix(r.Field+": "+r.Message, ": ")
	}
	return refused, nil
}
