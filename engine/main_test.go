package engine_test

import (
	"os"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestMain lets the test binary be a registry in a process of its own, which a
// test can kill.
func TestMain(m *testing.M) {
	registrytest.ProcessMain()
	os.Exit(m.Run())
}
