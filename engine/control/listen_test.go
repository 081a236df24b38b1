package control_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/door"
)

// visits are a handler that writes down who was served, in order.
type visits struct {
	mu  sync.Mutex
	who []string
}

func (v *visits) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_ = control.Known(door.Caller{}, r) // or its connection would not stay open
	v.mu.Lock()
	defer v.mu.Unlock()
	v.who = append(v.who, r.URL.Path)
}

func (v *visits) all() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.who)
}

// A sender has one connection.
type sender struct {
	net.Conn
	name string
	in   *bufio.Reader
}

func dial(t *testing.T, address, name string) sender {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return sender{c, name, bufio.NewReader(c)}
}

func (s sender) ask(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintf(s, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", s.name); err != nil {
		t.Fatal(err)
	}
}

func (s sender) answered(t *testing.T) {
	t.Helper()
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		t.Fatalf("%s is not answered: %v", s.name, err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", s.name, resp.StatusCode, err)
	}
}

// TestConnectionsAreBounded: connections do not take more than their share, however
// many wait; and who waits is served when one of them ends.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	served := &visits{}
	l, err := control.ListenAt(t.Context(), control.ListenOptions{Address: "127.0.0.1:0", MaxConnections: 2, Log: zap.NewNop(), Handler: served})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var open, waiting []sender
	for i := range 2 {
		s := dial(t, l.Address(), fmt.Sprint("open", i))
		s.ask(t)
		s.answered(t) // it is open on the other side too
		open = append(open, s)
	}
	for i := range 4 {
		s := dial(t, l.Address(), fmt.Sprint("waiting", i))
		s.ask(t)
		waiting = append(waiting, s)
	}
	const each = 500 // time enough for those who wait, if they had not to
	for range each {
		for _, s := range open {
			s.ask(t)
			s.answered(t)
		}
	}
	for i, who := range served.all() {
		if want := fmt.Sprint("/open", i%2); who != want {
			t.Fatalf("request %d was of %s beside two connections that were open, want %s", i, who, want)
		}
	}
	// The others come one after the other, in the place of the first.
	_ = open[0].Close()
	for _, s := range waiting {
		s.answered(t)
		_ = s.Close()
	}
	open[1].ask(t)
	open[1].answered(t)
}
