// Command micro runs a mesh and works with one: see `micro --help`.
package main

import (
	"os"

	"micromesh/cmd/micro/cli"
	"micromesh/internal/protogen"
)

func main() {
	protogen.Plugin()
	os.Exit(cli.Run(os.Args, cli.System()))
}
