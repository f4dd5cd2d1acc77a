// Command user runs the user service as a process of its own.
package main

import (
	"micromesh/pkg/process"
	"micromesh/user/app"
)

func main() { process.Main(app.Service()) }
