package journaltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A Disk is a file system of its own, which can be filled to the last byte.
type Disk struct {
	// Path is its root. It is empty at first, and its owner's alone.
	Path string

	t testing.TB
}

// inNamespace is set in the process that a test was run again in.
const inNamespace = "JOURNALTEST_IN_NAMESPACE"

// OnDisk runs a test with a disk of that many bytes. Only root may mount one: for
// anybody else the test is run again in a process of its own that is root in a
// namespace of its own. A machine that does not let users have those fails the test.
func OnDisk(t *testing.T, size int64, test func(t *testing.T, d *Disk)) {
	t.Helper()
	d := &Disk{Path: t.TempDir(), t: t}
	err := syscall.Mount("tmpfs", d.Path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
	switch {
	case errors.Is(err, syscall.EPERM) && os.Getenv(inNamespace) == "":
		runInNamespace(t)
		return
	case err != nil:
		t.Fatalf("mounting a disk: %v; run the test as root, or where users may have namespaces", err)
	}
	t.Cleanup(func() { // whatever still has files open
		if err := syscall.Unmount(d.Path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	test(t, d)
}

// runInNamespace runs a test again where its user is root.
func runInNamespace(t *testing.T) {
	t.Helper()
	var names []string
	for name := range strings.SplitSeq(t.Name(), "/") {
		names = append(names, "^"+regexp.QuoteMeta(name)+"$")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+strings.Join(names, "/")) //nolint:gosec // this program
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a namespace of its own: %v; run the test as root, or where users may have namespaces\n%s", err, out)
	}
}

// filler is what takes the room.
func (d *Disk) filler() string { return filepath.Join(d.Path, "filler") }

// Fill leaves no room on the disk. What is on it can be read, and written over.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	for block := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// Free makes room again.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}
