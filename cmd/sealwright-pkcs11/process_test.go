//go:build cgo

package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// patience is how long tests wait for what should happen at once.
const patience = 30 * time.Second

// A helper is a running sealwright-pkcs11.
type helper struct {
	hsm     hsm
	dir     string // short: a socket's path is limited
	socket  string
	pinFile string
	args    []string

	cmd    *exec.Cmd
	said   *lockedBuffer
	notify *net.UnixConn
}

// newHelper returns a helper for the token "release" that is not started.
func newHelper(t testing.TB, h hsm, args ...string) *helper {
	t.Helper()
	dir, err := os.MkdirTemp("", "swp11")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &helper{hsm: h, dir: dir, socket: filepath.Join(dir, "s"), pinFile: filepath.Join(dir, "pin")}
	p.setPIN(t, userPIN+"\n")
	p.args = append([]string{"--module", softHSM(t), "--socket", p.socket, "--token", tokenTag, "--pin-file", p.pinFile}, args...)
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	if p.notify, err = net.ListenUnixgram("unixgram", address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.notify.Close() })
	return p
}

// startHelper returns a helper that serves.
func startHelper(t testing.TB, h hsm, args ...string) *helper {
	t.Helper()
	p := newHelper(t, h, args...)
	p.start(t)
	return p
}

func (p *helper) setPIN(t testing.TB, pin string) {
	t.Helper()
	if err := os.WriteFile(p.pinFile, []byte(pin), 0o600); err != nil {
		t.Fatal(err)
	}
}

// launch starts the process and does not wait for anything.
func (p *helper) launch(t testing.TB) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd, p.said = exec.Command(self, p.args...), &lockedBuffer{}
	p.cmd.Env = append(p.hsm.env(), asHelper+"=1", "NOTIFY_SOCKET="+p.notify.LocalAddr().String())
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := p.cmd
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// start starts the process and waits until it says that it is ready.
func (p *helper) start(t testing.TB) {
	t.Helper()
	p.launch(t)
	p.awaitNotice(t, "READY=1")
}

func (p *helper) awaitNotice(t testing.TB, want string) {
	t.Helper()
	if err := p.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := p.notify.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %s: %v\n%s", want, err, p.said)
		}
		if strings.Contains(string(buf[:n]), want) {
			return
		}
	}
}

// exit waits for the process and returns its exit code.
func (p *helper) exit(t testing.TB) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *helper) stop(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit %d after SIGTERM:\n%s", code, p.said)
	}
}

func (p *helper) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.exit(t)
}

func (p *helper) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// freeze stops the helper's process, and waits until it stands still: a busy
// machine delivers the signal late.
func (p *helper) freeze(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("stopping the helper: %v, status %v", err, status)
	}
}

// store returns the key store that the helper is.
func (p *helper) store(t testing.TB) *kms.Store {
	t.Helper()
	return storeAt(t, p.socket)
}

func storeAt(t testing.TB, socket string) *kms.Store {
	t.Helper()
	cfg := kms.StoreConfig{Helper: socket}
	cfg.Limits.RequestsPerSecond, cfg.Limits.Concurrency = 1e6, 64
	s, err := kms.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a key that has to be there.
func (p *helper) open(t testing.TB, uri string, alg policy.Algorithm) kms.Signer {
	t.Helper()
	s, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: p.store(t), Algorithm: alg})
	if err != nil {
		t.Fatalf("opening %s: %v\n%s", uri, err, p.said)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
