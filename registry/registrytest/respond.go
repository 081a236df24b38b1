package registrytest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// respond answers with JSON.
func respond(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// newestFirst returns a list the other way round.
func newestFirst[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// window returns the entries of a list from one on, at most so many.
func window[T any](list []T, from, most int) []T {
	from = min(max(0, from), len(list))
	return list[from:min(from+most, len(list))]
}

// number reads a query's number; given when it is left out.
func number(r *http.Request, name string, given int) (int, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return given, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// catalogPage answers like /v2/_catalog does: the names after last, at most n.
func catalogPage(w http.ResponseWriter, r *http.Request, names []string) {
	n, ok := number(r, "n", 100)
	if !ok {
		respond(w, http.StatusBadRequest, map[string]any{})
		return
	}
	last := r.URL.Query().Get("last")
	from, _ := slices.BinarySearch(names, last)
	if from < len(names) && names[from] == last {
		from++
	}
	list := window(names, from, n)
	if from+len(list) < len(names) {
		query := r.URL.Query()
		query.Set("last", list[len(list)-1])
		w.Header().Set("Link", "<"+r.URL.Path+"?"+query.Encode()+`>; rel="next"`)
	}
	respond(w, http.StatusOK, map[string]any{"repositories": slices.Concat([]string{}, list)})
}

// Mount has requests below a path answered by own. It is called before anything
// is asked of s.
func (s *Server) Mount(path string, own http.Handler) {
	registry := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, path) {
			own.ServeHTTP(w, r)
			return
		}
		registry.ServeHTTP(w, r)
	})
}
