package api

import (
	"bytes"
	"cmp"
	"net/http"
	"strconv"
)

// An answer is kept until it is whole, so that nobody who reads slowly has a slot.
// What there is to answer is bounded by the size of pages.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements [http.ResponseWriter].
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (a *answer) send(w http.ResponseWriter) {
	status := cmp.Or(a.status, http.StatusOK)
	if status != http.StatusNoContent {
		a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
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
