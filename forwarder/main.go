// Command forwarder runs the forwarder service as a process of its own.
package main

import (
	"micromesh/forwarder/app"
	"micromesh/pkg/process"
)

func main() { process.Main(app.Service()) }
