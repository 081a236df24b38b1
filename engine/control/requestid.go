package control

import (
	"crypto/rand"
	"net/http"
)

// requestIDHeader is by what an answer says the id of its request, which logs name too.
const requestIDHeader = "X-Request-Id"

// identified gives each request an id. The APIs of vendors do that themselves, each in
// its vendor's header.
func identified(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(requestIDHeader, rand.Text())
		inner.ServeHTTP(w, r)
	})
}

// requestIDOf returns the id of the request that w answers.
func requestIDOf(w http.ResponseWriter) string { return w.Header().Get(requestIDHeader) }
