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
	"io"
	"log"
	"os"

	"micromesh/internal/protogen"
)

func main() {
	protogen.Plugin()
	check := flag.Bool("check", false, "write nothing; fail where a file would change")
	flag.Parse()
	log.SetOutput(io.Discard) // counterfeiter tells what it does
	cfg := protogen.Config{Module: "micromesh", Roots: []string{"proto", "pkg/events/proto"}, Check: *check}
	if _, err := protogen.Run(context.Background(), cfg); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}
