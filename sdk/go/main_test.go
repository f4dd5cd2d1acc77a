package sdk_test

import (
	"os"
	"testing"

	"micromesh/internal/meshtest"
)

func TestMain(m *testing.M) {
	meshtest.Play()
	code := m.Run()
	examples.stop()
	os.Exit(code)
}
