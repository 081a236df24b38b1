package sink

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestBackoff: each wait is about twice the one before it, up to a bound, less a
// random part; a server's own wish counts, up to a bound of its own.
func TestBackoff(t *testing.T) {
	t.Parallel()
	err := errors.New("down")
	b := backoff{least: time.Second, most: 5 * time.Minute}
	differ := false
	for i, full := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		full *= time.Second
		at := backoff{least: b.least, most: b.most, failures: i}
		if wait := b.next(err); wait < full/2 || wait > full {
			t.Errorf("wait %d is %v, want %v to %v", i, wait, full/2, full)
		} else if wait != at.next(err) {
			differ = true
		}
	}
	if !differ {
		t.Error("all waits are alike")
	}
	b.failures = 1000
	if wait := b.next(err); wait < 150*time.Second || wait > 300*time.Second {
		t.Errorf("after many failures: %v", wait)
	}
	b.reset()
	if wait := b.next(err); wait > time.Second {
		t.Errorf("after a success: %v", wait)
	}
	for asked, want := range map[time.Duration]time.Duration{10 * time.Minute: 10 * time.Minute, 24 * time.Hour: time.Hour} {
		if wait := b.next(fmt.Errorf("entry 1: %w", &Later{asked, err})); wait != want {
			t.Errorf("asked to wait %v: %v, want %v", asked, wait, want)
		}
	}
	b.failures = 9
	if wait := b.next(&Later{time.Second, err}); wait < 150*time.Second {
		t.Errorf("a server that asks for a second: %v", wait)
	}
}
