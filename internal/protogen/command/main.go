// Command command generates the Go code of every .proto in the tree, see package protogen:
//
//	go run ./internal/protogen/command [-check]
//
// With -check it writes nothing, and fails where a file would change.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"micromesh/internal/protogen"
)

func main() {
	protogen.Plugin()
	check := flag.Bool("check", false, "write nothing; fail where a file would change")
	flag.Parse()
	if _, err := protogen.Run(context.Background(), protogen.Config{Module: "micromesh", Check: *check}); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}
