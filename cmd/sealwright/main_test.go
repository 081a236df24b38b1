package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the sealwright command: scripts run it by
// that name, and tests that must be able to kill it run it as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, commands)
}

// commands are what this binary is when it is called by their names.
var commands = map[string]func(){
	"sealwright": func() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
}
