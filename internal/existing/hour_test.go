//go:build chaos

package existing_test

import (
	"testing"
	"time"
)

// TestProgramsBehaveAsTheyDoForAnHour runs the same programs for an hour.
func TestProgramsBehaveAsTheyDoForAnHour(t *testing.T) {
	t.Parallel()
	behave(t, time.Hour, time.Minute)
}
