//go:build interop

// Package main_test lets programs of others judge the built binary: verifiers,
// registries, init and container systems. "make interop" installs them and
// says by environment variables where they are.
package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tool returns the path of a program, or of what else .ci/tools.sh installs.
func tool(t testing.TB, name string) string {
	t.Helper()
	path := os.Getenv(name)
	if path == "" {
		t.Fatalf("environment variable %s is not set: run make interop", name)
	}
	return path
}

// needRoot fails the test with what it needs root for.
func needRoot(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("%s needs root: run make interop as root", what)
	}
}

// configs returns the absolute path of a file that users copy.
func configs(t testing.TB, name ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"..", "..", "configs"}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// writeFile writes a file into dir and returns its path.
func writeFile(t testing.TB, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func copyFile(t testing.TB, from, dir, name string, mode os.FileMode) string {
	t.Helper()
	return writeFile(t, dir, name, readFile(t, from), mode)
}

func mkdir(t testing.TB, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A program is how to call a program of others.
type program struct {
	path string
	// args go before those of the call.
	args []string
	// env is added to ours.
	env []string
	// dir is where it runs; empty: where we do.
	dir string
	// limit bounds a call; zero: a minute.
	limit time.Duration
}

// An outcome is what became of a call.
type outcome struct {
	line           string
	code           int
	stdout, stderr string
}

// run calls the program and waits for it. What it started dies with it.
func (p program) run(t testing.TB, args ...string) outcome {
	t.Helper()
	limit := p.limit
	if limit == 0 {
		limit = time.Minute
	}
	// Not the test's own context: that has ended when the test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args = append(append([]string{}, p.args...), args...)
	cmd := exec.CommandContext(ctx, p.path, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Dir, cmd.Env = p.dir, append(os.Environ(), p.env...)
	ownGroup(cmd)
	err := cmd.Run()
	o := outcome{line: p.path + " " + strings.Join(args, " "), code: cmd.ProcessState.ExitCode(),
		stdout: stdout.String(), stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v (%v, limit %s)\n%s", err, ctx.Err(), limit, o)
	}
	return o
}

// ownGroup makes cmd's end the end of all that it starts, and our end its own.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

func (o outcome) String() string {
	return fmt.Sprintf("$ %s\n%s%s[exit %d]", o.line, o.stdout, o.stderr, o.code)
}

// accepted fails the test unless the program succeeded; it returns what it
// wrote to standard output.
func (o outcome) accepted(t testing.TB) string {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("refused, want accepted:\n%s", o)
	}
	return o.stdout
}

// refused fails the test unless the program failed and said why: a refusal for
// another reason proves nothing.
func (o outcome) refused(t testing.TB, why string) {
	t.Helper()
	if o.code == 0 || !strings.Contains(o.stdout+o.stderr, why) {
		t.Fatalf("want refused with %q:\n%s", why, o)
	}
}

// readmeBlock returns the commands of a README's fenced block that is marked
// "sh NAME": what users are told to run is what is run here.
func readmeBlock(t testing.TB, path, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, path), "```sh "+name+"\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("%s has no block \"sh %s\"", path, name)
	}
	return block
}

// sealwright is the built binary, with a home of its own.
func sealwright(t testing.TB) program {
	t.Helper()
	home := t.TempDir()
	return program{path: tool(t, "SEALWRIGHT"), env: []string{"HOME=" + home, "DOCKER_CONFIG=" + home}, limit: 2 * time.Minute}
}
