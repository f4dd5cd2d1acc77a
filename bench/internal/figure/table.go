package figure

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table prints rows, of which the first is the heading, the way that Markdown has tables: the first column to the left, the
// others to the right. All rows are as long as the first.
func Table(out io.Writer, rows [][]string) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), len("-:"))
		}
	}
	rule := make([]string, len(widths))
	for i, w := range widths {
		rule[i] = strings.Repeat("-", w-1) + ":"
	}
	rule[0] = strings.Repeat("-", widths[0])
	var b strings.Builder
	for n, row := range rows {
		line(&b, row, widths)
		if n == 0 {
			line(&b, rule, widths)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func line(b *strings.Builder, row []string, widths []int) {
	for i, cell := range row {
		w := widths[i]
		if i == 0 {
			w = -w // to the left
		}
		fmt.Fprintf(b, "| %*s ", w, cell)
	}
	b.WriteString("|\n")
}
