package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

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

// slowHouse serves events without an engine: of registries r and s, whose senders
// are known by their headers, and of m and n, who sign bodies.
func slowHouse(t *testing.T) (pipes, *Listener) {
	t.Helper()
	receivers := map[string]*event.Receiver{}
	for name, source := range map[string]event.Source{"r": event.Distribution, "s": event.Zot, "m": event.Nexus, "n": event.Nexus} {
		var err error
		receivers[name], err = event.Open(event.Config{Source: source, Hosts: []string{"registry.example.com"}, Key: "docker",
			Secret: func() ([]byte, error) { return []byte("abc"), nil }})
		if err != nil {
			t.Fatal(err)
		}
	}
	p := pipes{make(chan net.Conn), make(chan struct{})}
	return p, serve(p, nil, ListenOptions{Log: zap.NewNop(), Handler: Events(EventOptions{Log: zap.NewNop(),
		Receiver: func(name string) (*event.Receiver, bool) { r, ok := receivers[name]; return r, ok }})})
}

// The head of a delivery that has the secret.
const withSecret = "POST /events/%s HTTP/1.1\r\nAuthorization: Bearer abc\r\nX:"

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
		{"POST /events/x", "404 Not Found", unreadPatience},
		{"POST /events/r", "401 Unauthorized", unreadPatience},
		{fmt.Sprintf(withSecret, "r"), "400 Bad Request", deliveryPatience},
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
		for _, head := range []string{"POST /nope", fmt.Sprintf(withSecret, "r")} {
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

// Slow senders who lack the secret, or who flood one registry, keep nobody else
// waiting.
func TestFloodsTakeNoTurnsOfOthers(t *testing.T) {
	for name, heads := range map[string][]string{
		"without a secret":         {"POST /events/r"},
		"with a wrong secret":      {"POST /events/r HTTP/1.1\r\nAuthorization: Bearer abd\r\nX:"},
		"whose bodies would tell":  {"POST /events/m", "POST /events/n"},
		"with a secret of another": {fmt.Sprintf(withSecret, "s")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, l := slowHouse(t)
				defer func() { _ = l.Close(context.Background()) }()
				for range 2 * maxDeliveries {
					for _, head := range heads {
						c := p.send(t, head)
						defer func() { _ = c.Close() }()
					}
				}
				synctest.Wait()
				began := time.Now()
				c := p.send(t, fmt.Sprintf(withSecret, "r"))
				defer func() { _ = c.Close() }()
				if _, err := c.Write(make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				answer, err := bufio.NewReader(c).ReadString('\r')
				if err != nil || answer != "HTTP/1.1 400 Bad Request\r" { // read, and no JSON
					t.Errorf("answered %q, %v", answer, err)
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("waited for %s", waited)
				}
			})
		})
	}
}

// The turns of all registries are bounded too, and come back.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var held []func()
		for _, registry := range []string{"a", "b", "c"} {
			for _, proven := range []bool{false, true} {
				for range maxDeliveries {
					if done, ok := turns.take(t.Context(), registry, proven); ok {
						held = append(held, done)
					}
				}
			}
		}
		if len(held) != maxDeliveries {
			t.Errorf("%d have their turns, want %d", len(held), maxDeliveries)
		}
		for _, done := range held {
			done()
		}
		for range maxOfRegistry {
			if _, ok := turns.take(t.Context(), "a", true); !ok {
				t.Fatal("a turn was not given back")
			}
		}
	})
}

// A flood of deliveries that are refused fills no log: of each registry and sort one
// is told of in a while.
func TestRefusedDeliveriesAreToldOfRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		receiver, err := event.Open(event.Config{Source: event.Distribution, Hosts: []string{"registry.example.com"},
			Secret: func() ([]byte, error) { return []byte("abc"), nil }})
		if err != nil {
			t.Fatal(err)
		}
		h := Events(EventOptions{Log: zap.New(core), Receiver: func(name string) (*event.Receiver, bool) { return receiver, name != "x" }})
		flood := func() {
			for range 100 {
				for _, registry := range []string{"r", "s", "x"} {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/events/"+registry, nil))
				}
			}
		}
		flood()
		if n := logs.Len(); n != 3 {
			t.Errorf("told of %d refusals, want 3", n)
		}
		time.Sleep(refusalsSaid)
		flood()
		if n := logs.Len(); n != 6 {
			t.Errorf("told of %d refusals after a while, want 6", n)
		}
	})
}
