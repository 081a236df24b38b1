package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A notifyListener stands in for systemd: it hears how a command says it is.
type notifyListener struct {
	ready    chan struct{} // closed at the first READY=1
	messages chan string
}

// listenNotify gives a command the socket by which it tells systemd how it is.
func listenNotify(t *testing.T, c *exec.Cmd) *notifyListener {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "NOTIFY_SOCKET="+path)
	n := &notifyListener{ready: make(chan struct{}), messages: make(chan string, 4096)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		said := false
		for {
			size, err := l.Read(buf)
			if err != nil {
				return
			}
			message := string(buf[:size])
			if !said && strings.Contains(message, "READY=1") {
				said = true
				close(n.ready)
			}
			select {
			case n.messages <- message:
			default: // nobody listens for so long
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return n
}

// notifySocket returns a channel that is closed when a command is ready.
func notifySocket(t *testing.T, c *exec.Cmd) <-chan struct{} {
	t.Helper()
	return listenNotify(t, c).ready
}

// await returns the next message with that line. What came before it is
// forgotten.
func (n *notifyListener) await(t *testing.T, line string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case message := <-n.messages:
			if slices.Contains(strings.Split(message, "\n"), line) {
				return message
			}
		case <-timeout:
			t.Fatalf("systemd was not told %s", line)
		}
	}
}

// rest returns what was said and not awaited.
func (n *notifyListener) rest() string {
	var all strings.Builder
	for {
		select {
		case message := <-n.messages:
			all.WriteString(message + "\n")
		default:
			return all.String()
		}
	}
}
