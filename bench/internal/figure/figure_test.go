package figure_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/bench/internal/figure"
)

func TestRoundsAreInterleavedAndTheMedianCounts(t *testing.T) {
	var order string
	costs := []time.Duration{100_000, 1_000, 3_000, 50_000, 2_000} // for an answer, in each round
	var used time.Duration
	round := 0
	ours := figure.Contender{
		Name: "ours", Bound: "4 µs",
		CPU: func() (time.Duration, error) { return used, nil },
		Load: func(_ context.Context, d time.Duration) (int64, error) {
			if d == 100*time.Millisecond { // gets warm: its CPU time is not to count
				used += time.Hour
				return 1, nil
			}
			order += "o"
			used += 10 * costs[round]
			round++
			return 10, nil
		},
	}
	direct := figure.Contender{Name: "direct", Load: func(_ context.Context, d time.Duration) (int64, error) {
		if d == time.Second {
			order += "d"
		}
		return 1, nil
	}}
	var out strings.Builder
	plan := figure.Plan{Title: "asking", Unit: "request", Rounds: len(costs), Each: time.Second}
	if err := figure.Compare(t.Context(), &out, plan, []figure.Contender{direct, ours}); err != nil {
		t.Fatal(err)
	}
	if order != "dododododo" {
		t.Errorf("measured in the order %q", order)
	}
	for _, want := range []string{"| direct |             – |        |          |       |", "| ours   |        3.0 µs | 1.0 µs | 100.0 µs |  4 µs |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}

func TestWhatCannotBeMeasuredIsAnError(t *testing.T) {
	broken := errors.New("broken")
	answers := func(n int64, err error) func(context.Context, time.Duration) (int64, error) {
		return func(context.Context, time.Duration) (int64, error) { return n, err }
	}
	for _, row := range []struct {
		name string
		plan figure.Plan
		c    figure.Contender
	}{
		{"no round", figure.Plan{Each: time.Second}, figure.Contender{Load: answers(1, nil)}},
		{"no time", figure.Plan{Rounds: 1}, figure.Contender{Load: answers(1, nil)}},
		{"no answer", figure.Plan{Rounds: 1, Each: time.Second}, figure.Contender{Load: answers(0, nil)}},
		{"an error", figure.Plan{Rounds: 1, Each: time.Second}, figure.Contender{Load: answers(1, broken)}},
		{"no CPU time", figure.Plan{Rounds: 1, Each: time.Second}, figure.Contender{
			Load: answers(1, nil), CPU: func() (time.Duration, error) { return 0, broken },
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := figure.Compare(t.Context(), io.Discard, row.plan, []figure.Contender{row.c}); err == nil {
				t.Error("got a table")
			}
		})
	}
}

func TestAnInterruptedMeasurementPrintsNoTable(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	c := figure.Contender{Load: func(context.Context, time.Duration) (int64, error) { stop(); return 1, nil }}
	err := figure.Compare(ctx, io.Discard, figure.Plan{Rounds: 1, Each: time.Second}, []figure.Contender{c})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTableAlignsWhatIsWiderThanItsBytes(t *testing.T) {
	var out strings.Builder
	if err := figure.Table(&out, [][]string{{"a…", "b"}, {"long", "1 µs"}, {"x", ""}}); err != nil {
		t.Fatal(err)
	}
	want := "| a…   |    b |\n| ---- | ---: |\n| long | 1 µs |\n| x    |      |\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
