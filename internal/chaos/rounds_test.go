//go:build !chaos

package chaos_test

import "time"

// How much of a fault the quick tests take.
const (
	rounds = 3 // of kills

	rollingRounds = 2
	rollingRate   = 100 // requests a second

	slowTurns = 1
	slowSpan  = 4 * time.Second // of slow consumers, and as long without

	targetSpan = 8 * time.Second // without the forwarder's target
)
