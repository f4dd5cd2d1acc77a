//go:build !chaos

package chaos_test

import "time"

// How much of a fault the quick tests take.
const (
	rounds = 3 // of kills

	rollingRounds = 2
	rollingRate   = 100 // requests a second

	slowSpan = 4 * time.Second // of slow consumers, and before and after them

	targetSpan = 8 * time.Second // without the forwarder's target
)
