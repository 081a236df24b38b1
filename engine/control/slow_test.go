package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/registry/event"
)

// pipes is a listener whose connections stay in the process, so that the time of
// a test is that of the connections too.
type pipes struct {
	came   chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.came:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

// slowHouse serves events of registry r, without an engine.
func slowHouse(t *testing.T) (pipes, *Listener) {
	t.Helper()
	receiver, err := event.Open(event.Config{Source: event.Distribution, Hosts: []string{"registry.example.com"},
		Secret: func() ([]byte, error) { return []byte("abc"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	p := pipes{make(chan net.Conn), make(chan struct{})}
	return p, serve(p, ListenOptions{Log: zap.NewNop(), Handler: Events(EventOptions{Log: zap.NewNop(),
		Receiver: func(name string) (*event.Receiver, bool) { return receiver, name == "r" }})})
}

// send begins a request whose body does not come.
func (p pipes) send(t *testing.T, head string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	p.came <- theirs
	if _, err := fmt.Fprintf(ours, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", head); err != nil {
		t.Fatal(err)
	}
	return ours
}

// A request whose body never comes holds nothing for long, whatever becomes of it.
func TestBodiesThatNeverCome(t *testing.T) {
	for _, test := range []struct {
		head, answer string
		within       time.Duration
	}{
		{"POST /nope", "404 Not Found", requestPatience},
		{"GET /events/r", "405 Method Not Allowed", requestPatience},
		{"POST /events/x", "404 Not Found", requestPatience},
		{"POST /events/r HTTP/1.1\r\nAuthorization: Bearer abc\r\nX:", "400 Bad Request", deliveryPatience},
	} {
		t.Run(test.head, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, l := slowHouse(t)
				c, began := p.send(t, test.head), time.Now()
				answer, err := io.ReadAll(c) // until we are left
				if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+test.answer) {
					t.Errorf("answered %q, %v; want %s", answer, err, test.answer)
				}
				if took := time.Since(began); took > test.within {
					t.Errorf("held for %s, want at most %s", took, test.within)
				}
				if err := l.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A slow sender does not use up the time that a stop has.
func TestCloseCutsSlowSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := slowHouse(t)
		for _, head := range []string{"POST /nope", "POST /events/r HTTP/1.1\r\nAuthorization: Bearer abc\r\nX:"} {
			c := p.send(t, head)
			defer func() { _ = c.Close() }()
		}
		synctest.Wait()
		began := time.Now()
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > closePatience {
			t.Errorf("took %s", took)
		}
	})
}
