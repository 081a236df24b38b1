// Package loopback is what the key stores that tests ask have in common: a
// handler on a loopback port, or without a network for a test in synctest's
// time, whose answers a test can spoil.
package loopback

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// maxRequest bounds a request that is read, in bytes.
const maxRequest = 1 << 20

// A Server answers for a key store. It is safe for concurrent use.
type Server struct {
	// URL is where it listens, or as good as any without a network.
	URL string
	// CA is the PEM certificate that vouches for it, if it has one.
	CA []byte

	handle    func(w http.ResponseWriter, r *http.Request, body []byte)
	mu        sync.Mutex
	intercept func(op string, w http.ResponseWriter, r *http.Request) bool
	alter     func(op string, answer map[string]any)
	calls     map[string]int
}

// New returns a server whose requests handle answers, and that has no network:
// it is a transport itself.
func New(handle func(w http.ResponseWriter, r *http.Request, body []byte)) *Server {
	return &Server{URL: "https://127.0.0.1", handle: handle, calls: map[string]int{}}
}

// Start has the server listen until the test ends.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	s.listen(tb, (*httptest.Server).Start)
}

// StartTLS is Start with HTTPS.
func (s *Server) StartTLS(tb testing.TB) {
	tb.Helper()
	certificate := s.listen(tb, (*httptest.Server).StartTLS).Certificate()
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

func (s *Server) listen(tb testing.TB, start func(*httptest.Server)) *httptest.Server {
	listener := httptest.NewUnstartedServer(s)
	listener.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of clients that leave
	start(listener)
	tb.Cleanup(listener.Close)
	s.URL = listener.URL
	return listener
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Before all else: only when the body is read does a server see a client leave.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return
	}
	s.handle(w, r, body)
}

// RoundTrip serves a request in the caller's goroutine. A handler that panics
// with http.ErrAbortHandler breaks the connection, and an answer that is shorter
// than it says is cut off.
func (s *Server) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, fmt.Errorf("connection reset: %v", p)
		}
	}()
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, received(r))
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp = answer.Result()
	resp.Request = r
	if said, err := strconv.Atoi(resp.Header.Get("Content-Length")); err == nil && said > answer.Body.Len() {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(answer.Body.Bytes()), cutOff{}))
	}
	return resp, nil
}

// received is a request as a server sees it.
func received(r *http.Request) *http.Request {
	asked := r.Clone(r.Context())
	asked.Header = http.Header{}
	for name, values := range r.Header {
		for _, value := range values {
			asked.Header.Add(name, value)
		}
	}
	asked.Header.Del("Host")
	if asked.Host == "" {
		asked.Host = r.URL.Host
	}
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	return asked
}

type cutOff struct{}

func (cutOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Do changes the server while nothing reads it.
func (s *Server) Do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Intercept has f see requests, named by their operation, before they are
// answered; f returns whether it has answered one. Nil ends that.
func (s *Server) Intercept(f func(op string, w http.ResponseWriter, r *http.Request) bool) {
	s.Do(func() { s.intercept = f })
}

// Intercepted counts a request and reports whether it has been answered.
func (s *Server) Intercepted(op string, w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	s.calls[op]++
	intercept := s.intercept
	s.mu.Unlock()
	return intercept != nil && intercept(op, w, r)
}

// Calls returns how often an operation was asked for.
func (s *Server) Calls(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

// Alter has f change good answers before they are sent. Nil ends that.
func (s *Server) Alter(f func(op string, answer map[string]any)) { s.Do(func() { s.alter = f }) }

// Altered changes an answer as Alter wants it. It is called inside Do.
func (s *Server) Altered(op string, answer map[string]any) {
	if s.alter != nil {
		s.alter(op, answer)
	}
}

// WriteJSON answers with a JSON body.
func WriteJSON(w http.ResponseWriter, status int, answer any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client may have left
}
