// Command proxy runs the proxy service as a process of its own.
package main

import (
	"micromesh/pkg/process"
	"micromesh/proxy/app"
)

func main() { process.Main(app.Service()) }
