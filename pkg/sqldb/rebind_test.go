package sqldb_test

import (
	"strings"
	"testing"

	"micromesh/pkg/sqldb"
)

func TestRebind(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"SELECT 1":                           "SELECT 1",
		"a = ? AND b = ?":                    "a = $1 AND b = $2",
		"(?,?)?":                             "($1,$2)$3",
		"a = '?' AND b = ?":                  "a = '?' AND b = $1",
		"'it''s ?' ?":                        "'it''s ?' $1",
		`'\' ? '?'`:                          `'\' $1 '?'`,
		`E'\'?' ?`:                           `E'\'?' $1`,
		`name'\' ?`:                          `name'\' $1`,
		`"a?""?" ?`:                          `"a?""?" $1`,
		"? -- why?\n?":                       "$1 -- why?\n$2",
		"? -- why?":                          "$1 -- why?",
		"/* ? /* ? */ ? */ ?":                "/* ? /* ? */ ? */ $1",
		"/*/ ? */ ?":                         "/*/ ? */ $1",
		"$$ ? $$ ?":                          "$$ ? $$ $1",
		"$a$ ? $b$ ? $$ ? $a$ ?":             "$a$ ? $b$ ? $$ ? $a$ $1",
		"a$b ? $b":                           "a$b $1 $b",
		"$1 ?":                               "$1 $1",
		"'open ?":                            "'open ?",
		"/* open ?":                          "/* open ?",
		"ü'?' ?":                             "ü'?' $1",
		strings.Repeat("?,", 10) + "?":       "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11",
		"SELECT e'?' || E'?\\'?' , \"E\"'?'": "SELECT e'?' || E'?\\'?' , \"E\"'?'",
	} {
		if got := sqldb.Rebind(in); got != want {
			t.Errorf("rebind(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzRebind checks that nothing but question marks changes, that a quoted text never does, and that every byte is looked at.
func FuzzRebind(f *testing.F) {
	for _, seed := range []string{"a = ? AND b = '?'", `E'\'?`, "$a$?$a$?", "/*/?*/?", `"?`, "--?\n?"} {
		f.Add(seed, "text")
	}
	f.Fuzz(func(t *testing.T, query, text string) {
		got := sqldb.Rebind(query)
		if !strings.Contains(query, "?") && got != query {
			t.Errorf("rebind(%q) = %q", query, got)
		}
		if a, b := strings.Split(query, "?"), got; len(a) > 1 && !strings.HasPrefix(b, a[0]) {
			t.Errorf("rebind(%q) = %q", query, got)
		}
		literal := "'" + strings.ReplaceAll(text, "'", "''") + "'"
		if got, want := sqldb.Rebind("a = "+literal+" AND b = ?"), "a = "+literal+" AND b = $1"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
