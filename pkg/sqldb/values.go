package sqldb

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Time is the argument for a time in a BIGINT column: microseconds since 1970, UTC; NULL for the zero time.
func Time(t time.Time) driver.Valuer { return timeArg(t) }

// ScanTime reads such a column into t, as UTC; NULL becomes the zero time.
func ScanTime(t *time.Time) sql.Scanner { return (*timeDest)(t) }

type timeArg time.Time

// Value implements driver.Valuer.
func (t timeArg) Value() (driver.Value, error) {
	if time.Time(t).IsZero() {
		return nil, nil
	}
	return time.Time(t).UnixMicro(), nil
}

type timeDest time.Time

// Scan implements sql.Scanner.
func (t *timeDest) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = timeDest{}
	case int64:
		*t = timeDest(time.UnixMicro(v).UTC())
	default:
		return fmt.Errorf("scan a time: the column holds %T, not microseconds", src)
	}
	return nil
}

// JSON is the argument for a value in a TEXT column, as JSON.
func JSON(v any) driver.Valuer { return jsonArg{v} }

// ScanJSON reads such a column into what v points to; NULL and the empty text leave that as it is.
func ScanJSON(v any) sql.Scanner { return jsonDest{v} }

type jsonArg struct{ v any }

// Value implements driver.Valuer.
func (j jsonArg) Value() (driver.Value, error) {
	b, err := json.Marshal(j.v)
	if err != nil {
		return nil, fmt.Errorf("encode a column: %w", err)
	}
	return string(b), nil
}

type jsonDest struct{ v any }

// Scan implements sql.Scanner.
func (j jsonDest) Scan(src any) error {
	var b []byte
	switch s := src.(type) {
	case nil:
	case string:
		b = []byte(s)
	case []byte:
		b = s
	default:
		return fmt.Errorf("scan JSON: the column holds %T", src)
	}
	if len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, j.v); err != nil {
		return fmt.Errorf("decode a column: %w", err)
	}
	return nil
}

// Text is the argument for a text that is NULL where it is empty, so that a unique index lets any number of them be.
func Text(s string) driver.Valuer { return sql.NullString{String: s, Valid: s != ""} }

// ScanText reads such a column into s; NULL becomes the empty text.
func ScanText(s *string) sql.Scanner { return (*textDest)(s) }

type textDest string

// Scan implements sql.Scanner.
func (t *textDest) Scan(src any) error {
	var s sql.NullString
	err := s.Scan(src)
	*t = textDest(s.String)
	return err
}

// Limit is the end of a query that gives at most so many rows as its last argument says. SQLite looks at a bare "LIMIT ?" when it plans
// a query, and so plans it anew for each execution.
const Limit = " LIMIT CAST(? AS BIGINT)"

// In gives the placeholders "(?, ?, …)" and the arguments of an IN with values. Their number is rounded up to a power of
// two by repeating the last, so that lists of all lengths share few prepared statements. No values match nothing.
func In[T any](values []T) (placeholders string, args []any) {
	if len(values) == 0 {
		return "(NULL)", nil
	}
	n := 1
	for n < len(values) {
		n *= 2
	}
	args = make([]any, n)
	for i := range args {
		args[i] = values[min(i, len(values)-1)]
	}
	return "(?" + strings.Repeat(", ?", n-1) + ")", args
}

// EscapeLike escapes the wildcards in s for a pattern of LIKE ? ESCAPE '\'.
func EscapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}
