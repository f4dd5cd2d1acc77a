package first_test

import (
	"testing"

	"micromesh/internal/meshtest"
)

func TestMain(m *testing.M) { meshtest.Main(m) }
