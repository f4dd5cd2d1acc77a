package service

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Mixpanel is the format of Mixpanel's import (https://developer.mixpanel.com/reference/import-events). An event is named by
// its type without "micromesh.", such as "accounts.ACCOUNT_REGISTERED". Its fields are properties: those of messages within it
// have their path as name, such as "account.slug", lists stay lists.
type Mixpanel struct{}

var _ Format = Mixpanel{}

// Limits implements Format.
func (Mixpanel) Limits() (events, bytes int) { return 2000, 10 << 20 }

type mixpanelEvent struct {
	Event      string         `json:"event"`
	Properties map[string]any `json:"properties"`
}

// Encode implements Format.
func (Mixpanel) Encode(e Event) ([]byte, error) {
	if e.ID == "" {
		return nil, errors.New("the event has no id, by which it would be imported once")
	}
	at, err := time.Parse(time.RFC3339, e.Time)
	if err != nil {
		return nil, fmt.Errorf("the event's time is %q; it must be one by RFC 3339", e.Time)
	}
	properties, err := flat(e.Data)
	if err != nil {
		return nil, err
	}
	for name, v := range map[string]any{
		"time": at.UnixMilli(), "distinct_id": e.Subject, "$insert_id": insertID(e.ID), "event_id": e.ID, "topic": e.Topic, "source": e.Source,
	} {
		properties[name] = v
	}
	return json.Marshal(mixpanelEvent{strings.TrimPrefix(e.Type, "micromesh."), properties})
}

var insertIDs = regexp.MustCompile(`^[a-zA-Z0-9-]{1,36}$`)

// insertID is by what Mixpanel knows an event again: at most 36 bytes, letters, digits and dashes. It is the event's id where
// that is one, else a hash of it.
func insertID(id string) string {
	if insertIDs.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// flat gives the fields of an object by their paths.
func flat(data json.RawMessage) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, errors.New("the event's data is no JSON object")
	}
	out := make(map[string]any, 2*len(object))
	flatten("", object, out)
	return out, nil
}

func flatten(path string, object, out map[string]any) {
	for name, v := range object {
		if path != "" {
			name = path + "." + name
		}
		if within, ok := v.(map[string]any); ok && len(within) > 0 {
			flatten(name, within, out)
			continue
		}
		if reserved(name) {
			name = "event." + name
		}
		out[name] = v
	}
}

// reserved tells whether a property means something to Mixpanel, or is one that every event has.
func reserved(name string) bool {
	switch name {
	case "time", "distinct_id", "token", "ip", "event_id", "topic", "source":
		return true
	}
	return strings.HasPrefix(name, "$") || strings.HasPrefix(name, "mp_")
}
