package cluster_test

import (
	"testing"
	"time"
)

// eventually waits until something is so.
func eventually(t *testing.T, is func() error) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
