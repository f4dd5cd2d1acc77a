package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/forwarder/service"
)

func event(id, data string) service.Event {
	return service.Event{
		ID: id, Source: "/user-svc", Type: "micromesh.accounts.ACCOUNT_REGISTERED", Subject: "account-1", Time: "2026-01-02T03:04:05.678Z", Topic: "accounts",
		Schema: "0123456789abcdef0123456789abcdef", Trace: "00-1-2-01", Data: json.RawMessage(data),
	}
}

const joe = `{"type":"EVENT_TYPE_ACCOUNT_REGISTERED","account":{"id":"1","slug":"joe"},"n":12345678901234567890,"list":[{"a":1},2],"none":{},"time":"mine","$city":"X"}`

func TestFormats(t *testing.T) {
	for _, r := range []struct {
		name   string
		format service.Format
		want   string
	}{
		{"mixpanel", service.Mixpanel{}, `{"event":"accounts.ACCOUNT_REGISTERED","properties":{
			"$insert_id":"E1","account.id":"1","account.slug":"joe","distinct_id":"account-1","event.$city":"X","event.time":"mine","event_id":"E1",
			"list":[{"a":1},2],"n":12345678901234567890,"none":{},"source":"/user-svc","time":1767323045678,"topic":"accounts","type":"EVENT_TYPE_ACCOUNT_REGISTERED"}}`},
		{"cloudevents", service.CloudEvents{}, `{"specversion":"1.0","id":"E1","source":"/user-svc","type":"micromesh.accounts.ACCOUNT_REGISTERED","subject":"account-1",
			"time":"2026-01-02T03:04:05.678Z","datacontenttype":"application/json","dataschema":"0123456789abcdef0123456789abcdef","traceparent":"00-1-2-01","data":` + joe + `}`},
	} {
		t.Run(r.name, func(t *testing.T) {
			got, err := r.format.Encode(event("E1", joe))
			if err != nil {
				t.Fatal(err)
			}
			want := regexp.MustCompile(`\n\s*`).ReplaceAllString(r.want, "")
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInsertIDsAreWhatMixpanelTakesAndStayTheSame(t *testing.T) {
	valid, seen := regexp.MustCompile(`^[a-zA-Z0-9-]{1,36}$`), map[string]bool{}
	for _, id := range []string{"JBSWY3DPEHPK3PXP", "with_underscore", "with.dot", strings.Repeat("long", 20), "ü", strings.Repeat("a", 36), strings.Repeat("a", 37)} {
		var ids []string
		for range 2 {
			b, err := service.Mixpanel{}.Encode(event(id, "{}"))
			if err != nil {
				t.Fatal(err)
			}
			var e struct {
				Properties struct {
					ID string `json:"$insert_id"`
				}
			}
			if err := json.Unmarshal(b, &e); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.Properties.ID)
		}
		if ids[0] != ids[1] || !valid.MatchString(ids[0]) || seen[ids[0]] {
			t.Errorf("%s is %v", id, ids)
		}
		seen[ids[0]] = true
	}
}

func TestWhatCantBeEncodedSaysWhy(t *testing.T) {
	late := event("1", "{}")
	late.Time = "yesterday"
	for want, f := range map[string]func() ([]byte, error){
		"yesterday": func() ([]byte, error) { return service.Mixpanel{}.Encode(late) },
		"no id":     func() ([]byte, error) { return service.Mixpanel{}.Encode(event("", "{}")) },
		"no JSON":   func() ([]byte, error) { return service.Mixpanel{}.Encode(event("1", "")) },
		"lacks":     func() ([]byte, error) { return service.CloudEvents{}.Encode(event("", "{}")) },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// scripted is a target that answers requests in turn, and a format with small limits.
type scripted struct {
	service.CloudEvents
	most, bytes int
	sent        [][]string
	answer      func(batch []string) (map[int]string, error)
	forwarded   int
	failed      []string
}

func (s *scripted) Limits() (events, bytes int) { return s.most, s.bytes }

func (s *scripted) Encode(e service.Event) ([]byte, error) {
	if e.ID == "" {
		return nil, errors.New("no id")
	}
	return []byte(`"` + e.ID + `"`), nil
}

func (s *scripted) Send(_ context.Context, batch [][]byte) (map[int]string, error) {
	var ids []string
	for _, b := range batch {
		ids = append(ids, strings.Trim(string(b), `"`))
	}
	s.sent = append(s.sent, ids)
	return s.answer(ids)
}

func (s *scripted) Forwarded(string)     { s.forwarded++ }
func (s *scripted) Failed(reason string) { s.failed = append(s.failed, reason) }

func batch(ids ...string) (out []service.Event) {
	for _, id := range ids {
		out = append(out, event(id, "{}"))
	}
	return out
}

func kinds(results []error) (out []string) {
	for _, err := range results {
		refused, ok := errors.AsType[*service.RefusedError](err)
		switch {
		case err == nil:
			out = append(out, "sent")
		case ok:
			out = append(out, "refused: "+refused.Why)
		default:
			out = append(out, "failed")
		}
	}
	return out
}

func TestForward(t *testing.T) {
	large := &service.TargetError{Reason: service.ReasonLarge, Split: true, Cause: errors.New("too large")}
	away := &service.TargetError{Reason: service.ReasonUnreachable, Cause: errors.New("away")}
	without := func(bad string, err error) func([]string) (map[int]string, error) {
		return func(ids []string) (map[int]string, error) {
			if slices.Contains(ids, bad) {
				return nil, err
			}
			return nil, nil
		}
	}
	for _, r := range []struct {
		name        string
		most, bytes int
		ids         []string
		answer      func([]string) (map[int]string, error)
		sent        [][]string
		results     []string
	}{
		{"all at once", 9, 99, []string{"a", "b"}, without("", nil), [][]string{{"a", "b"}}, []string{"sent", "sent"}},
		{"by number", 2, 99, []string{"a", "b", "c"}, without("", nil), [][]string{{"a", "b"}, {"c"}}, []string{"sent", "sent", "sent"}},
		{"by size", 9, 10, []string{"a", "b", "c", "long-long-long"}, without("", nil), [][]string{{"a", "b"}, {"c"}, {"long-long-long"}}, []string{"sent", "sent", "sent", "sent"}},
		{
			"one is refused", 9, 99, []string{"a", "", "b", "c"}, func([]string) (map[int]string, error) { return map[int]string{1: "bad"}, nil },
			[][]string{{"a", "b", "c"}}, []string{"sent", "refused: no id", "refused: bad", "sent"},
		},
		{
			"one is too large", 9, 99, []string{"a", "b", "c", "d"}, without("c", large),
			[][]string{{"a", "b", "c", "d"}, {"a", "b"}, {"c", "d"}, {"c"}, {"d"}}, []string{"sent", "sent", "refused: too large", "sent"},
		},
		{
			"nothing goes after a failure", 2, 99, []string{"a", "b", "c", "d", "e"}, without("c", away),
			[][]string{{"a", "b"}, {"c", "d"}}, []string{"sent", "sent", "failed", "failed", "failed"},
		},
		{
			"nothing goes after half of a batch that fails", 4, 99, []string{"a", "b", "c", "d", "e"}, func(ids []string) (map[int]string, error) {
				if len(ids) == 4 {
					return nil, large
				}
				return nil, away
			},
			[][]string{{"a", "b", "c", "d"}, {"a", "b"}}, []string{"failed", "failed", "failed", "failed", "failed"},
		},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := &scripted{most: r.most, bytes: r.bytes, answer: r.answer}
			results := kinds(service.New(s, s, s).Forward(t.Context(), batch(r.ids...)))
			if diff := cmp.Diff(r.sent, s.sent); diff != "" {
				t.Errorf("sent: %s", diff)
			}
			if diff := cmp.Diff(r.results, results); diff != "" {
				t.Errorf("results: %s", diff)
			}
			want := fmt.Sprint(len(slices.DeleteFunc(slices.Clone(r.results), func(s string) bool { return s != "sent" })))
			if got := fmt.Sprint(s.forwarded); got != want {
				t.Errorf("%s are counted, not %s", got, want)
			}
		})
	}
}
