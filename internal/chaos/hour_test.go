//go:build hour

package chaos_test

import (
	"testing"
	"time"
)

func TestTargetOfTheForwarderIsAwayForAnHour(t *testing.T) {
	targetAway(t, "the forwarder's target is away for an hour", time.Hour)
}
