package registrytest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a process of a Process is told by its environment.
const (
	processRoot    = "REGISTRYTEST_ROOT"
	processAddress = "REGISTRYTEST_ADDRESS"
)

// A Process is a distribution registry in a process of its own, which can be
// killed and started again on the same storage, at the same address.
type Process struct {
	// Server has its Host and Root; it counts and intercepts nothing.
	*Server

	command *exec.Cmd
}

// ProcessMain is what TestMain of a package calls that uses NewProcess: in a
// process that NewProcess started, it is the registry and does not return.
func ProcessMain() {
	root, address := os.Getenv(processRoot), os.Getenv(processAddress)
	if root == "" {
		return
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	quiet()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		fail(err)
	}
	fmt.Println(l.Addr())
	go func() { // whoever started it is gone, however it ended
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	server := &http.Server{Handler: distributionOn(context.Background(), root), ReadHeaderTimeout: time.Minute}
	fail(server.Serve(l))
}

// NewProcess starts a registry on a new directory. The package's TestMain must
// call ProcessMain.
func NewProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{Server: &Server{Host: "127.0.0.1:0", Root: t.TempDir(), counts: map[string]int{}}}
	p.Start(t)
	t.Cleanup(p.Kill)
	return p
}

// Start starts it again after Kill, and waits until it listens.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), self)
	c.Env = append(os.Environ(), processRoot+"="+p.Root, processAddress+"="+p.Host)
	c.Stderr = os.Stderr
	if _, err = c.StdinPipe(); err != nil { // its end is that of this process
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p.command = c
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Kill()
		t.Fatalf("the registry does not listen at %s: %v", p.Host, err)
	}
	p.Host = strings.TrimSpace(said)
}

// Kill ends the process at once, whatever it is doing.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}
