package nearest_test

import (
	"strings"
	"testing"

	"micromesh/pkg/nearest"
)

func TestName(t *testing.T) {
	known := []string{"allTokens", "device", "userId"}
	for given, want := range map[string]string{
		"all": "allTokens", "tokens": "allTokens", "alltokens": "allTokens", "dvice": "device", "user_id": "userId", "userid": "userId",
		"DEVICE": "device", "x": "", "": "", "weather": "", strings.Repeat("device", 100): "",
	} {
		if got := nearest.Name(given, known); got != want {
			t.Errorf("%.20q is nearest to %q, not to %q", given, got, want)
		}
	}
	if got := nearest.Name("name", nil); got != "" {
		t.Errorf("of no names %q is the nearest", got)
	}
}
