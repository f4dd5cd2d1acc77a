// Package figure measures contenders beside each other, and prints what it found: rounds of all are interleaved, so that what
// else the machine does falls on all alike, and the median counts.
package figure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// Plan is a measurement.
type Plan struct {
	Title  string
	Unit   string        // what is counted: request, call
	Rounds int           // at least 1
	Each   time.Duration // of each contender in a round; a tenth more is before it, for connections, pools and code to get warm
}

// Contender is one of those that are measured.
type Contender struct {
	Name  string
	Bound string                                                                // what its CPU time is to stay below, if anything
	CPU   func() (time.Duration, error)                                         // what its process has used so far; nil where it has none
	Load  func(ctx context.Context, d time.Duration) (answers int64, err error) // asks it for a while
}

// result is what the rounds of one contender gave.
type result struct {
	rate []float64       // answers a second
	cpu  []time.Duration // for one answer
}

// Compare measures contenders, and prints a table of the CPU time of each one's process for one answer, and of its answers
// a second.
func Compare(ctx context.Context, out io.Writer, plan Plan, contenders []Contender) error {
	if plan.Rounds < 1 || plan.Each <= 0 {
		return errors.New("there must be at least one round, which takes some time")
	}
	fmt.Fprintf(out, "%s: %d contenders in turns, %d rounds of %v each\n\n", plan.Title, len(contenders), plan.Rounds, plan.Each)
	results := make([]result, len(contenders))
	for range plan.Rounds {
		for i, c := range contenders {
			if err := c.measure(ctx, plan.Each, &results[i]); err != nil {
				return fmt.Errorf("measure %s: %w", c.Name, err)
			}
		}
	}
	rows := [][]string{{plan.Title, "CPU a " + plan.Unit, "least", "most", "bound", plan.Unit + "s/s"}}
	for i, c := range contenders {
		rows = append(rows, c.row(results[i]))
	}
	return Table(out, rows)
}

func (c Contender) measure(ctx context.Context, d time.Duration, r *result) error {
	if _, err := c.Load(ctx, d/10); err != nil {
		return err
	}
	before, err := c.used()
	if err != nil {
		return err
	}
	start := time.Now()
	n, err := c.Load(ctx, d)
	took := time.Since(start)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	after, err := c.used()
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("nothing was answered")
	}
	r.rate = append(r.rate, float64(n)/took.Seconds())
	r.cpu = append(r.cpu, (after-before)/time.Duration(n))
	return nil
}

func (c Contender) used() (time.Duration, error) {
	if c.CPU == nil {
		return 0, nil
	}
	return c.CPU()
}

func (c Contender) row(r result) []string {
	slices.Sort(r.rate)
	slices.Sort(r.cpu)
	rate := strconv.FormatFloat(r.rate[len(r.rate)/2], 'f', 0, 64)
	if c.CPU == nil {
		return []string{c.Name, "–", "", "", c.Bound, rate}
	}
	return []string{c.Name, Micros(r.cpu[len(r.cpu)/2]), Micros(r.cpu[0]), Micros(r.cpu[len(r.cpu)-1]), c.Bound, rate}
}

// Micros writes a time in microseconds.
func Micros(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1e3) }
