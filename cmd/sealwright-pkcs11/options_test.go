//go:build cgo

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	module := []string{"--module", "/nonexistent/module.so"}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, exitOK, "Usage: sealwright-pkcs11 --module FILE"},
		{[]string{"--version"}, exitOK, "sealwright-pkcs11 "},
		{nil, exitUsage, "--module is missing"},
		{[]string{"--module", "libsofthsm2.so"}, exitUsage, "allowed: an absolute path"},
		{append(module, "--pin", "1234"), exitUsage, "flag provided but not defined: -pin"},
		{append(module, "serve"), exitUsage, `unexpected argument "serve"`},
		{append(module, "--sessions", "0"), exitUsage, "allowed: 1 to 1024"},
		{append(module, "--sessions", "many"), exitUsage, "invalid value"},
		{append(module, "--log-level", "fatal"), exitUsage, "allowed: debug, info, warn, error"},
		{append(module, "--socket", "s"), exitUsage, "allowed: an absolute path"},
		{append(module, "--socket", "/"+strings.Repeat("s", 80)), exitUsage, "81 bytes; allowed: at most 80"},
		{append(module, "--pin-file", "/f", "--pin-env", "E"), exitUsage, "allowed: one of them"},
		{append(module, "--pin-env", "SEALWRIGHT_NOT_SET"), exitUsage, "not set, empty or longer"},
		{append(module, "--socket", filepath.Join(t.TempDir(), "s")), exitUsage, "cannot load the PKCS#11 module /nonexistent/module.so"},
		{[]string{"--module", os.Args[0], "--socket", filepath.Join(t.TempDir(), "s")}, exitUsage, "cannot load"},
	} {
		var out bytes.Buffer
		if code := execute(tt.args, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%q: exit %d saying %q, want %d saying %q", tt.args, code, out.String(), tt.code, tt.says)
		}
	}
}

func TestPINFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	for _, tt := range []struct {
		content string
		mode    os.FileMode
		want    string // "": refused
	}{
		{"1234", 0o600, "1234"},
		{"1234\n", 0o400, "1234"},
		{"12 34\r\n", 0o600, "12 34"},
		{"1234\n\n", 0o600, ""},
		{"", 0o600, ""},
		{"\n", 0o600, ""},
		{strings.Repeat("1", maxPIN+1), 0o600, ""},
		{"1234", 0o604, ""},
		{"1234", 0o660, ""},
	} {
		if err := errors.Join(os.WriteFile(path, []byte(tt.content), 0o600), os.Chmod(path, tt.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := readPIN(path)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q with mode %#o: %q, %v; want %q", tt.content, tt.mode, got, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "1234") {
			t.Errorf("the error holds the PIN: %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readPIN(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := readPIN(filepath.Dir(path)); err == nil {
		t.Error("a directory is no PIN file")
	}
}

func TestNoPIN(t *testing.T) {
	p, err := newPIN("", "", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.value(); err == nil || !strings.Contains(err.Error(), "--pin-file or --pin-env") {
		t.Errorf("%v, want how to give a PIN", err)
	}
}

// Without cgo the program says what it needs instead of breaking the build.
func TestWithoutCgo(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sealwright-pkcs11")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary, "--module", "m.so").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.Contains(string(out), "CGO_ENABLED=1") {
		t.Errorf("%v: %s, want exit 2 naming CGO_ENABLED=1", err, out)
	}
}
