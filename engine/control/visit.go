package control

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
)

const (
	// strangerIdle is how long a connection stays open on which nobody has shown yet who
	// it is, and asks for nothing.
	strangerIdle = 10 * time.Second
	// maxBeside is how many requests there are at once besides one on each connection, of
	// strangers, and as many of those who are known. With HTTP/2 one connection can have
	// many, and each costs as much as one that has a connection of its own.
	maxBeside = 1024
)

// visits are the connections of a listener, and what is asked for on them.
type visits struct {
	beside map[bool]chan struct{} // places besides one on each connection, by whether it is known
	all    underWay
	// changes are those of who is known: a stop has more patience with them.
	changes underWay
}

func newVisits() *visits {
	return &visits{beside: map[bool]chan struct{}{false: make(chan struct{}, maxBeside), true: make(chan struct{}, maxBeside)}}
}

// A visitListener makes each connection a visit.
type visitListener struct{ net.Listener }

// Accept implements net.Listener.
func (l visitListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visit{Conn: c}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.due = time.AfterFunc(strangerIdle, v.expire)
	return v, nil
}

// A visit is a connection. One on which nobody shows who it is ends soon.
type visit struct {
	net.Conn

	mu       sync.Mutex
	due      *time.Timer // until it is known
	known    bool
	requests int // under way
}

// Close implements net.Conn.
func (v *visit) Close() error {
	v.mu.Lock()
	v.due.Stop()
	v.mu.Unlock()
	return v.Conn.Close()
}

// expire ends the visit of a stranger who asks for nothing. Who asks for something is
// left with the answer.
func (v *visit) expire() {
	v.mu.Lock()
	stays := v.known || v.requests > 0
	v.mu.Unlock()
	if !stays {
		_ = v.Conn.Close() // whoever it is has been told nothing and is owed nothing
	}
}

func (v *visit) recognize() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known = true
	v.due.Stop()
}

type (
	visitKey struct{}
	guestKey struct{}
)

// visited is for [http.Server.ConnContext], which alone tells a handler of its
// connection.
func visited(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, visitKey{}, c)
}

// A guest is one request, until it is answered.
type guest struct {
	visits  *visits
	visit   *visit
	header  http.Header // of the answer
	changes bool        // it may change something
	counted bool        // as a change
}

// Known is for [door.Config]'s Admit: the connection of who has shown who it is stays
// open. It refuses nobody.
func Known(_ door.Caller, r *http.Request) error {
	recognize(r)
	return nil
}

// recognize notes that a request is of somebody who has shown who it is.
func recognize(r *http.Request) {
	g, ok := r.Context().Value(guestKey{}).(*guest)
	if !ok { // from a listener of another kind
		return
	}
	g.header.Del("Connection")
	g.visit.recognize()
	if g.changes && !g.counted {
		g.counted = true
		g.visits.changes.begin()
	}
}

// serve has a request answered, and turns those away that are too many, which inner
// answers. A stranger's connection is closed with the answer.
func (s *visits) serve(inner http.Handler) http.Handler {
	return s.all.count(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Context().Value(visitKey{}).(*visit) //nolint:forcetypeassert // visited put it there
		known, leave, ok := s.enter(v)
		if !known {
			w.Header().Set("Connection", "close")
		}
		if !ok {
			w.Header().Set("Retry-After", "1")
			inner.ServeHTTP(w, door.TurnAway(r))
			return
		}
		defer leave()
		g := &guest{visits: s, visit: v, header: w.Header(), changes: r.Method != http.MethodGet && r.Method != http.MethodHead}
		defer g.leave()
		inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), guestKey{}, g)))
	}))
}

func (g *guest) leave() {
	if g.counted {
		g.visits.changes.end()
	}
}

// enter finds a place for a request, or there is none.
func (s *visits) enter(v *visit) (known bool, leave func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	leave = func() {}
	if v.requests > 0 {
		places := s.beside[v.known]
		select {
		case places <- struct{}{}:
			leave = func() { <-places }
		default:
			return v.known, nil, false
		}
	}
	v.requests++
	give := leave
	return v.known, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.requests--
		give()
	}, true
}

// underWay counts what has begun and not ended.
type underWay struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there is none; nil while nobody waits
}

func (u *underWay) begin() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
}

func (u *underWay) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n--; u.n == 0 && u.none != nil {
		close(u.none)
		u.none = nil
	}
}

func (u *underWay) some() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n > 0
}

// count has an HTTP handler's requests counted.
func (u *underWay) count(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.begin()
		defer u.end()
		inner.ServeHTTP(w, r)
	})
}

// wait returns when nothing is under way, or with an error when its patience or ctx
// ends.
func (u *underWay) wait(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u.mu.Lock()
	n := u.n
	if n > 0 && u.none == nil {
		u.none = make(chan struct{})
	}
	none := u.none
	u.mu.Unlock()
	if n == 0 {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d requests do not end: %w", n, ctx.Err())
	}
}
