//go:build !chaos

package chaos_test

// How much of a fault the quick tests take.
const (
	rounds = 3 // of kills

	rollingRounds = 2
	rollingRate   = 100 // requests a second
)
