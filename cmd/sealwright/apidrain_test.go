package main

import (
	"slices"
	"syscall"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestStoppedWhileChanging: a daemon that is asked to stop answers the changes under way
// and makes no others: what it answered is there, and what it did not is not.
func TestStoppedWhileChanging(t *testing.T) {
	a := newAPIHouse(t)
	a.registry.Push(t, "library/app:v1", registrytest.Image(t))
	a.registry.Push(t, tcrNamespace+"/app:v1", registrytest.Image(t))
	d := a.start()
	changers := a.changers(t, a.lookup(t, a.Oracle(t, a.oracle), "library/app:v1"))
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
	there := a.whatIsThere(t)
	for _, c := range changers {
		if c.name == "oci" || c.name == "tcr" { // no list has their names
			continue
		}
		for _, name := range c.asked {
			if is := slices.Contains(there[c.name], name); is != c.answered[name] {
				t.Errorf("%s: %s was answered: %t, and is there: %t", c.name, name, c.answered[name], is)
			}
		}
	}
	a.wantLast(t, changers[4])
}
