package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// notifySocket gives a command the socket by which it tells systemd how it is,
// and returns a channel that is closed at READY=1.
func notifySocket(t *testing.T, c *exec.Cmd) <-chan struct{} {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "NOTIFY_SOCKET="+path)
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		said := false
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			if !said && strings.Contains(string(buf[:n]), "READY=1") {
				said = true
				close(ready)
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return ready
}
