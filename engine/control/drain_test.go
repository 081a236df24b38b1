package control

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/door"
)

// TestCloseWaits: a stop lets changes of who is known come to their end and be answered;
// what else is slow is cut, and nothing is at work any more when it is over.
func TestCloseWaits(t *testing.T) {
	for _, test := range []struct {
		name, method  string
		known         bool
		takes, within time.Duration
		answered      bool
	}{
		{"a change", http.MethodPost, true, 25 * time.Second, changePatience, true},
		{"a change that takes too long", http.MethodPost, true, 2 * time.Minute, changePatience + 2*time.Second, false},
		{"a change of a stranger", http.MethodPost, false, 25 * time.Second, closePatience + 2*time.Second, false},
		{"a read", http.MethodGet, true, 25 * time.Second, closePatience + 2*time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var over atomic.Bool
				p := pipes{make(chan net.Conn), make(chan struct{})}
				l := serve(p, nil, ListenOptions{Log: zap.NewNop(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if test.known {
						_ = Known(door.Caller{}, r)
					}
					select {
					case <-time.After(test.takes):
						say(w, http.StatusOK, "changed")
					case <-r.Context().Done():
						time.Sleep(time.Second) // it does not end at once
					}
					over.Store(true)
				})})
				r := &reception{pipes: p, Listener: l}
				idle, v := r.visit(t, ""), r.visit(t, "")
				send(t, idle, "POST / HTTP/1.1\r\n") // a slow one beside it
				send(t, v, test.method+" / HTTP/1.1\r\nHost: x\r\n\r\n")
				synctest.Wait()
				began := time.Now()
				r.close(t)
				if took := time.Since(began); took > test.within || !over.Load() {
					t.Errorf("took %s, over: %t; want at most %s", took, over.Load(), test.within)
				}
				if said := <-v.said; bytes.Contains(said, []byte("changed")) != test.answered {
					t.Errorf("answered %q", said)
				}
				for _, v := range []*visitor{idle, v} {
					_ = v.Close()
				}
			})
		})
	}
}

// TestCloseTellsWhatDoesNotEnd: a stop waits for no handler without end, and says so.
func TestCloseTellsWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stuck := pipes{make(chan net.Conn), make(chan struct{})}, make(chan struct{})
		r := &reception{pipes: p, Listener: serve(p, nil, ListenOptions{Log: zap.NewNop(),
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck })})}
		v := r.visit(t, "")
		send(t, v, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		if err := r.Listener.Close(context.Background()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want that a request does not end", err)
		}
		close(stuck)
		_ = v.Close()
	})
}
