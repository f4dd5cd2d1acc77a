// Command registry runs the registry service as a process of its own.
package main

import (
	"micromesh/pkg/process"
	"micromesh/registry/app"
)

func main() { process.Main(app.Service()) }
