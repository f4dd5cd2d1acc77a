// Command gateway runs the gateway service as a process of its own.
package main

import (
	"micromesh/gateway/app"
	"micromesh/pkg/process"
)

func main() { process.Main(app.Service()) }
