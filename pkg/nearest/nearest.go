// Package nearest finds the known name that a misspelled one was probably meant to be.
package nearest

import "strings"

// longest is the most bytes of a name that is compared: the comparison takes the product of both lengths.
const longest = 64

// Name returns the known name that is most like the given one, or "" if none is like it. Case doesn't count. A known name that begins
// with the given one, or ends with it, is like it.
func Name(given string, known []string) string {
	if given == "" || len(given) > longest {
		return ""
	}
	name := strings.ToLower(given)
	best, least := "", len(name)/2+2
	for _, k := range known {
		if d := away(name, strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// away returns the distance of a known name from a given one. At least three letters must agree at an end of the known name.
func away(name, known string) int {
	const enough = 3
	if len(name) >= enough && (strings.HasPrefix(known, name) || strings.HasSuffix(known, name)) {
		return 1
	}
	return Distance(name, known)
}

// Distance returns how many letters must be put in, taken out or replaced to make one text of another (Levenshtein, 1966).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				next = min(next, before)
			} else {
				next = min(next, before+1)
			}
			before, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
