// Package contract holds a fake against the service that it stands for, so that a test with a fake proves something.
//
// A fake (counterfeiter's, in proto/fakes) answers what its test tells it to. Whether the service would answer the same, nobody knows, unless
// somebody asks both: [Test] makes the same calls on both, and fails where the answers differ.
//
//	func TestFakeAccounts(t *testing.T) {
//		t.Parallel()
//		contract.Test(t, real(t), fakeAccounts(), []contract.Case[accountpb.AccountService]{
//			{Name: "an account that is there", Ignore: []string{"id", "createdAt"}, Call: func(ctx context.Context, c accountpb.AccountService) (any, error) {
//				return c.Read(ctx, &accountpb.ReadRequest{Slug: "joe"})
//			}},
//			{Name: "one that is not", Call: func(ctx context.Context, c accountpb.AccountService) (any, error) {
//				return c.Read(ctx, &accountpb.ReadRequest{Slug: "nobody"})
//			}},
//		})
//	}
//
// What makes the fake (fakeAccounts) is what other tests use, so what they rely on was compared. Nothing in here is shared between
// tests: they can run in parallel.
package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/errs"
)

// Case is a call that is made on both. C is the interface of the client (or of a handler, or a stream).
type Case[C any] struct {
	Name string
	// Call makes the call. It must not depend on which of the two it is given.
	Call func(ctx context.Context, c C) (any, error)
	// Ignore names fields of the answer, in lowerCamelCase and at whatever depth, whose values can't be the same, such as ids and
	// times. They are compared by whether they are there.
	Ignore []string
}

// Difference is a case in which the two differ.
type Difference struct {
	Case string
	Diff string // lines with - are the service's, with + the fake's
}

// Test makes the cases' calls on the service and on the fake, in their order, and fails the test for each that the two answer
// differently. Errors are the same if their kind, their code and the fields that they name are (see [errs.Error]); messages are
// for people, and may differ.
func Test[C any](t *testing.T, service, fake C, cases []Case[C]) {
	t.Helper()
	for _, d := range Compare(t.Context(), service, fake, cases) {
		t.Errorf("%s: the fake does not answer as the service does (-service +fake):\n%s", d.Case, d.Diff)
	}
}

// Compare is Test without a test: it gives the differences, none if there are none.
func Compare[C any](ctx context.Context, service, fake C, cases []Case[C]) []Difference {
	var out []Difference
	for _, c := range cases {
		theirs, ours := c.outcome(ctx, service), c.outcome(ctx, fake)
		if diff := cmp.Diff(theirs, ours); diff != "" {
			out = append(out, Difference{c.Name, diff})
		}
	}
	return out
}

// outcome is what a call amounts to, in a form that can be compared.
func (c Case[C]) outcome(ctx context.Context, on C) map[string]any {
	answer, err := c.Call(ctx, on)
	if err != nil {
		e := errs.From(err)
		var fields []string
		for _, d := range e.Details {
			fields = append(fields, d.Field)
		}
		slices.Sort(fields)
		return map[string]any{"error": e.Code, "status": e.Status(), "fields": fields}
	}
	b, err := encode(answer)
	if err != nil {
		return map[string]any{"answer": fmt.Sprintf("can't be compared: %v", err)}
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return map[string]any{"answer": fmt.Sprintf("can't be compared: %v", err)}
	}
	return map[string]any{"answer": c.blank(v)}
}

func encode(answer any) ([]byte, error) {
	if m, ok := answer.(proto.Message); ok {
		return protojson.Marshal(m)
	}
	return json.Marshal(answer)
}

// blank puts a mark in place of what is ignored, wherever it is.
func (c Case[C]) blank(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if slices.Contains(c.Ignore, name) {
				v[name] = "(there)"
				continue
			}
			v[name] = c.blank(inner)
		}
	case []any:
		for i := range v {
			v[i] = c.blank(v[i])
		}
	}
	return v
}
