package api

import (
	"bytes"
	"cmp"
	"maps"
	"net/http"
	"strconv"
)

// An answer is kept until it is whole, so that nobody who reads slowly has a slot.
// What there is to answer is bounded by the size of pages.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	why    error // what the operation ended with
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// send writes the answer, and does not change it: several may have asked for it.
func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	status := cmp.Or(a.status, http.StatusOK)
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.body.Bytes()) // the reader left: nobody to tell
}

// A writer knows whether the answer has begun, and with which status.
type writer struct {
	http.ResponseWriter
	began  bool
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	w.began, w.status = true, cmp.Or(w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(b []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
