//go:build cgo

package main

import (
	"os"
	"testing"
)

// Environment variables that make the test binary another program.
const (
	asHelper = "SEALWRIGHT_TEST_AS_HELPER" // sealwright-pkcs11 itself
	asKeygen = "SEALWRIGHT_TEST_AS_KEYGEN" // changes a token as its value says
)

// TestMain lets the test binary be the helper, so that tests stop and kill real
// processes; and the program that makes keys, so that each has a module of its
// own with its own SOFTHSM2_CONF.
func TestMain(m *testing.M) {
	if os.Getenv(asHelper) != "" {
		os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
	}
	if work := os.Getenv(asKeygen); work != "" {
		os.Exit(keygen(work))
	}
	os.Exit(m.Run())
}
