package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgressWithoutTerminal: a plain line now and then, none after the end,
// and logs in between as they are.
func TestProgressWithoutTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, "signing")
		p.add(false)
		p.add(true)
		time.Sleep(plainEvery + time.Second)
		if _, err := io.WriteString(p, "a log line\n"); err != nil {
			t.Fatal(err)
		}
		p.add(false)
		time.Sleep(plainEvery)
		p.finish()
		p.finish()
		time.Sleep(plainEvery)
		want := "signing: 2 artifacts, 1 failed, 10s\na log line\nsigning: 3 artifacts, 1 failed, 20s\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", &out, want)
		}
	})
	(&progress{}).finish() // its zero value shows nothing
}

// TestRunOnTerminal: on a terminal run --once shows how far it got on one line,
// warnings above it in plain words, and nothing of it stays.
func TestRunOnTerminal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.push("library/api", 10)
	h.configure(strings.Replace(fmt.Sprintf(manual, "all"), `tags: "**"`, `tags: "**", untagged: true`, 1))
	config, err := os.ReadFile(h.path(localConfig))
	if err != nil {
		t.Fatal(err)
	}
	h.write(strings.Replace(string(config), "requests_per_second: 5000", "requests_per_second: 40", 1))
	screen, terminal := openTerminal(t)
	var stdout, shown bytes.Buffer
	c := h.command("run", "--once")
	c.Stdout, c.Stderr = &stdout, terminal
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&shown, screen) // ends with an error when nobody has the terminal open
	}()
	err = c.Run()
	_ = terminal.Close()
	<-read
	if err != nil || !strings.Contains(stdout.String(), " Succeed  10 ") {
		t.Errorf("%v\n%s%s", err, &stdout, &shown)
	}
	for _, want := range []string{"WARN\x1b[0m\tconfiguration\t", "untagged artifacts cannot be seen", "signing: 0 artifacts, ", "/s"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("not shown: %q", want)
		}
	}
	for _, not := range []string{`{"level"`, "INFO", "artifact signed"} {
		if strings.Contains(shown.String(), not) {
			t.Errorf("shown: %q", not)
		}
	}
	if _, last, _ := strings.Cut(shown.String(), "signing: "); !strings.HasSuffix(last, "\x1b[2K\r") {
		t.Errorf("something stays on the terminal: %q", last)
	}
	if t.Failed() {
		t.Logf("%q", &shown)
	}
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}
