package registrytest

import (
	"testing"
	"time"
)

// Eventually asks until what happened, and fails the test if it did not within
// limit.
func Eventually(t testing.TB, limit time.Duration, what string, happened func() bool) {
	t.Helper()
	timeout := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %s in vain until %s", limit, what)
		}
	}
}
