package porttest_test

import (
	"net"
	"testing"

	"micromesh/pkg/porttest"
)

func TestPortsAreFreeAndGivenOnce(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		address := porttest.Free(t)
		if seen[address] {
			t.Fatalf("%s was given twice", address)
		}
		seen[address] = true
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
	}
}
