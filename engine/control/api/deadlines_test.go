package api_test

import (
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// serversTime is how long a server gives an answer whose handler says nothing of time:
// longer than any handler asks for, so that its deadlines can be told from theirs.
const serversTime = 24 * time.Hour

// impatient serves the API at a server whose deadlines have passed when the test says
// so, and not when the machine is slow.
func (s *site) impatient(t *testing.T) *deadlines {
	t.Helper()
	server := httptest.NewUnstartedServer(s.api)
	d := &deadlines{Listener: server.Listener}
	server.Listener = d
	server.Config.ReadTimeout, server.Config.WriteTimeout = serversTime, serversTime
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	return d
}

// deadlines are a listener that knows until when may be written to its connections.
type deadlines struct {
	net.Listener

	mu  sync.Mutex
	all []*dueConn
}

// Accept implements net.Listener.
func (d *deadlines) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	due := &dueConn{Conn: c}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, due)
	return due, nil
}

// expire lets the server's time for answers be over: to a connection whose deadline no
// handler has moved nothing can be written any more.
func (d *deadlines) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		c.expire()
	}
}

// A dueConn is a connection of deadlines.
type dueConn struct {
	net.Conn

	mu  sync.Mutex
	due time.Time
}

// SetWriteDeadline implements net.Conn.
func (c *dueConn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = at
	return c.Conn.SetWriteDeadline(at)
}

func (c *dueConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Until(c.due) > serversTime/2 {
		_ = c.Conn.SetWriteDeadline(time.Now()) // one that is closed has ended too
	}
}
