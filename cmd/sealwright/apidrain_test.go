package main

import (
	"syscall"
	"testing"
)

// TestStoppedWhileChanging: a daemon that is asked to stop answers the changes under way
// and makes no others: what it answered is there, and what it did not is not.
func TestStoppedWhileChanging(t *testing.T) {
	a := newAPIHouse(t)
	k := newKilled(t, a)
	d := a.start()
	k.prepare(t)
	changers := k.changers(t)
	for round := range 3 {
		changing(t, changers, round, func() {
			d.signal(syscall.SIGTERM)
			if code := d.wait(); code != exitOK {
				t.Errorf("exit code %d", code)
			}
		})
		d = a.start()
	}
	defer d.stop()
	there := k.states(t)
	for _, c := range changers {
		for object := range c.may {
			if got := there[c.name][object]; got != c.is[object] {
				t.Errorf("%s is %q, and was answered to be %q", object, got, c.is[object])
			}
		}
	}
}
