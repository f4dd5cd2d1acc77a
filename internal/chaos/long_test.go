//go:build chaos

package chaos_test

import (
	"testing"
	"time"

	"micromesh/internal/chaos"
)

// How much of a fault the long tests take.
const (
	rounds = 20 // of kills

	rollingRounds = 20
	rollingRate   = 500 // requests a second

	slowTurns = 10
	slowSpan  = 10 * time.Second // of slow consumers, and as long without

	targetSpan = 2 * time.Minute // without the forwarder's target
)

func TestPostgresAwayFor10Minutes(t *testing.T) {
	away(t, "Postgres away for 10 minutes", chaos.Refusal, 10*time.Minute, time.Second)
}

func TestNATSAwayFor5Minutes(t *testing.T) { outage(t, "NATS away for 5 minutes", 5*time.Minute) }
