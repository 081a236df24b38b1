// Package control is how others talk to a running daemon. In this build that is
// the control socket, a Unix socket that only the daemon's user can open, by which
// the command line fires policies and follows their executions; and a network
// address at which registries deliver events.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// SocketName is the control socket's file name in the state directory.
const SocketName = "control.sock"

// maxBody bounds what either side reads of the other, in bytes.
const maxBody = 1 << 20

// A Server answers on the control socket.
type Server struct {
	http     *http.Server
	listener net.Listener
	all      underWay
	done     chan struct{}
}

// Options are what a Server serves. All but API and Collectors are required.
type Options struct {
	Engine  *engine.Engine
	Journal *journal.Journal
	Health  *Health
	// Rights keep the audit log of what is fired.
	Rights *rights.Rights
	Log    *zap.Logger
	// API answers at /api/. Nil: it is not there.
	API http.Handler
	// Collectors are metrics besides those of the engine and the process.
	Collectors []prometheus.Collector
}

// Listen opens the socket at path (mode 0600), replacing one that a dead daemon
// left behind, and serves o until Close. It fails when a living daemon answers.
func Listen(ctx context.Context, path string, o Options) (*Server, error) {
	dialer := net.Dialer{Timeout: time.Second}
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close() // nothing was written
		return nil, fmt.Errorf("control socket %s: another daemon is listening", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the stale control socket: %w", err)
	}
	l, err := listenPrivate(ctx, path)
	if err != nil {
		return nil, err
	}
	return serveLocal(l, o), nil
}

// serveLocal serves o at a listener. A client of ours that hangs is no stranger, but
// holds as much as one: it has as much time.
func serveLocal(l net.Listener, o Options) *Server {
	h := &handler{engine: o.Engine, journal: o.Journal, rights: o.Rights}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /policies/{name}/executions", h.fire)
	mux.HandleFunc("GET /executions/{id}", h.execution)
	mux.Handle("GET /metrics", metrics(o.Engine, o.Collectors, o.Log))
	mux.HandleFunc("GET /healthz", o.Health.live)
	mux.HandleFunc("GET /readyz", o.Health.readyInFull)
	if o.API != nil {
		mux.Handle("/api/", o.API)
	}
	s := &Server{listener: l, done: make(chan struct{})}
	s.http = newServer(s.all.count(identified(mux)), o.Log)
	s.http.ConnContext = withPeer
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("control socket closed", zap.Error(err))
		}
	}()
	return s
}

// listenPrivate listens on a socket that never was open to other users: it is
// made in a private directory and then moved to its place.
func listenPrivate(ctx context.Context, path string) (net.Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".control-")
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // empty by then
	made := filepath.Join(dir, "s")
	l, err := new(net.ListenConfig).Listen(ctx, "unix", made)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	return l, nil
}

// Close stops answering, waits for answers under way until ctx ends, cuts those that are
// left, which then have seconds to end, and removes the socket.
func (s *Server) Close(ctx context.Context, path string) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	err = errors.Join(err, s.all.wait(context.WithoutCancel(ctx), closePatience))
	if rm := os.Remove(path); !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

type handler struct {
	engine  *engine.Engine
	journal *journal.Journal
	rights  *rights.Rights
}

// fire fires a policy, or a campaign, by the name of what is to be fired.
func (h *handler) fire(w http.ResponseWriter, r *http.Request) {
	name, request := r.PathValue("name"), requestIDOf(w)
	var x journal.Execution
	err := h.rights.Change(r.Context(), rights.Change{Caller: Local(r), API: "socket", Action: "trigger", Target: h.target(name), RequestID: request},
		func(ctx context.Context) (err error) {
			x, err = h.engine.FireFor(ctx, request, name)
			return err
		})
	answer(w, http.StatusCreated, x, err)
}

// target is what the audit log calls what is fired: REGISTRY/POLICY, or the name of
// what is none.
func (h *handler) target(name string) string {
	for _, p := range h.engine.Policies() {
		if p.Name == name {
			return p.Registry + "/" + name
		}
	}
	return rights.Clip(name)
}

func (h *handler) execution(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		answer(w, 0, nil, fmt.Errorf("execution %q: %w", r.PathValue("id"), journal.ErrNotFound))
		return
	}
	x, err := h.journal.Execution(r.Context(), id)
	answer(w, http.StatusOK, x, err)
}

// problem is the body of every answer that is no success.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, status int, body any, err error) {
	switch {
	case errors.Is(err, journal.ErrNotFound), errors.Is(err, engine.ErrPolicy):
		status, body = http.StatusNotFound, problem{err.Error()}
	case err != nil:
		status, body = http.StatusInternalServerError, problem{err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the reader left: nobody to tell
}

// ErrRefused is wrapped by a Client's errors when what was asked for cannot be
// had: no such policy or execution, or a disabled policy.
var ErrRefused = errors.New("refused by the daemon")

// A Client talks to a daemon by its control socket.
type Client struct{ http *http.Client }

// Dial returns a client of the daemon that listens at path. It sends nothing.
func Dial(path string) *Client {
	var d net.Dialer
	return &Client{http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}}}}
}

// Fire fires a policy in the daemon.
func (c *Client) Fire(ctx context.Context, policy string) (journal.Execution, error) {
	return c.do(ctx, http.MethodPost, "/policies/"+url.PathEscape(policy)+"/executions")
}

// Execution asks how far an execution got.
func (c *Client) Execution(ctx context.Context, id int64) (journal.Execution, error) {
	return c.do(ctx, http.MethodGet, "/executions/"+strconv.FormatInt(id, 10))
}

func (c *Client) do(ctx context.Context, method, path string) (journal.Execution, error) {
	var x journal.Execution
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, nil)
	if err != nil {
		return x, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return x, fmt.Errorf("asking the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return x, fmt.Errorf("reading the daemon's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		var p problem
		if json.Unmarshal(body, &p) != nil || p.Error == "" {
			p.Error = resp.Status
		}
		if resp.StatusCode == http.StatusNotFound {
			return x, fmt.Errorf("%w: %s", ErrRefused, p.Error)
		}
		return x, fmt.Errorf("the daemon: %s", p.Error)
	}
	return x, json.Unmarshal(body, &x)
}
