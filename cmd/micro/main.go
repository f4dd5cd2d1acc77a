// Command micro runs a mesh and works with one: see `micro --help`.
package main

import (
	"os"

	"micromesh/cmd/micro/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, cli.System()))
}
