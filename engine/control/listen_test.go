package control_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control"
)

// TestConnectionsAreBounded: idle connections do not take more than their share, and
// who comes then is served when one of them ends.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	l, err := control.ListenAt(t.Context(), control.ListenOptions{Address: "127.0.0.1:0", MaxConnections: 2, Log: zap.NewNop(),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var idle []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", l.Address())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		// It is open on the other side too once a request is answered.
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + l.Address())
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("answered beside two idle connections: %v", err)
	case <-time.After(200 * time.Millisecond): // it may only come too late, which is no failure
	}
	for _, c := range idle {
		_ = c.Close()
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
