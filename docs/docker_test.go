//go:build compose

package docs_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestPagesWithDocker does what pages say for Docker, in a project of its own. All of it goes with the test.
func TestPagesWithDocker(t *testing.T) {
	r := newReader(t)
	var err error
	if r.dir, err = filepath.Abs(".."); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(r.address)
	if err != nil {
		t.Fatal(err)
	}
	r.environ = append(r.environ, fmt.Sprintf("COMPOSE_PROJECT_NAME=micromesh-test-docs-%d", os.Getpid()), "MICRO_PORT="+port)
	down := block{page: "the end", kind: "console", text: "$ docker compose down --volumes --timeout 5\n"}
	t.Cleanup(func() { r.run(t, down) })
	commands := 0
	for _, page := range pages(t) {
		for _, b := range blocks(t, page) {
			switch b.kind {
			case "console docker":
				b.kind = "console"
			case "console docker soon":
				b.kind = "console soon"
			default:
				continue
			}
			commands += len(b.commands(t))
			r.run(t, b)
		}
	}
	if commands < 5 {
		t.Errorf("only %d commands were run", commands)
	}
}
