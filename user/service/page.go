package service

import (
	"time"

	"micromesh/pkg/errs"
)

// Bounds of a page.
const (
	defaultPage = 100
	maxPage     = 1000
)

// AccountQuery says which accounts to list, in which order.
type AccountQuery struct {
	IDs       []string
	ContactID string
	Search    string // part of a slug, a name or a contact, in any case
	ByUpdate  bool   // order by the time of the last change, not of the creation
	Ascending bool
	After     time.Time // only those behind this time; zero is from the start
	// Limit bounds the page. It holds more only so that accounts of one time are never torn apart.
	Limit int
}

// timeOf is what accounts are ordered by.
func (q AccountQuery) timeOf(a Account) time.Time {
	if q.ByUpdate {
		return a.UpdatedAt
	}
	return a.CreatedAt
}

func pageLimit(asked int) int {
	if asked <= 0 {
		return defaultPage
	}
	return min(asked, maxPage)
}

// TimeFormat is how times are written for clients: RFC 3339 in UTC, with microseconds.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// ParseAfter reads the time after which a page begins; the empty text is the start. Errors: Invalid.
func ParseAfter(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, errs.Field("afterTime", "time", "must be a time in RFC 3339, such as %s", TimeFormat)
	}
	return t.UTC(), nil
}
