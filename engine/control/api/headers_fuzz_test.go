package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// direct asks the API without a connection, which would refuse some headers by itself.
func (s *site) direct(r *http.Request) *httptest.ResponseRecorder {
	r.Header.Set("Authorization", "Bearer "+admin)
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	return w
}

// FuzzLastEventID: who names the last event of an execution that has ended is sent
// nothing, and who names any other is sent that one; an id that is too long for one is
// refused.
func FuzzLastEventID(f *testing.F) {
	s := open(f, controltest.Options{})
	s.Server.Push(f, "team/app:v1", registrytest.Image(f))
	want[api.PolicyState](f, s.as(f, admin, http.MethodPost, "/policies", text(f, covering("team", controltest.Registry, "team"))), http.StatusCreated)
	id := want[journal.Execution](f, s.as(f, operator, http.MethodPost, "/policies/team/fire", ""), http.StatusAccepted).ID
	s.Await(f, id)
	path := fmt.Sprintf("%s/executions/%d/events", api.Prefix, id)
	first := s.direct(httptest.NewRequest(http.MethodGet, path, http.NoBody)).Body.String()
	_, rest, _ := strings.Cut(first, "id: ")
	last, _, _ := strings.Cut(rest, "\n")
	if last == "" {
		f.Fatalf("%q has no event", first)
	}
	for _, seed := range []string{last, strings.ToUpper(last), last[:len(last)-1], last + " ", "", "0", "1-0000000000000000", strings.Repeat("x", 64), strings.Repeat("x", 65), last + "\nid: x", "\xff", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header["Last-Event-Id"] = []string{said}
		w := s.direct(r)
		switch {
		case utf8.RuneCountInString(said) > 64:
			if w.Code != http.StatusUnprocessableEntity {
				t.Errorf("%q: %d %s", said, w.Code, w.Body)
			}
		case said == last:
			if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
				t.Errorf("%q: %d %s", said, w.Code, w.Body)
			}
		case w.Code != http.StatusOK || w.Body.String() != first:
			t.Errorf("%q: %d %s, want %s", said, w.Code, w.Body, first)
		}
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok && id != last {
				t.Errorf("%q: event %q", said, id)
			}
		}
	})
}

// FuzzContentType: a body is read if it is said to be JSON, in UTF-8 or of no character
// set; whatever else it is said to be, it is refused before it is looked at.
func FuzzContentType(f *testing.F) {
	s := open(f, controltest.Options{})
	for _, kind := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`, "application/json; charset=Utf-8", "application/json; charset=utf-16",
		"application/json; x=y", "application/json;", "application/json, text/plain", "application/merge-patch+json", "text/plain", "", "application/json\x00", "application/json; charset*=utf-8''utf-8", "application/json; charset=utf-8; charset=utf-8"} {
		f.Add(kind, false)
	}
	f.Add("application/json", true)
	f.Fuzz(func(t *testing.T, kind string, twice bool) {
		r := httptest.NewRequest(http.MethodPost, api.Prefix+"/policies", io.NopCloser(bytes.NewReader([]byte(`{"no":"policy"}`))))
		r.Header["Content-Type"] = []string{kind}
		if twice {
			r.Header.Add("Content-Type", kind)
		}
		w := s.direct(r)
		plain := strings.ToLower(strings.Join(strings.Fields(kind), ""))
		switch {
		case w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusUnsupportedMediaType:
			t.Errorf("%q: %d %s", kind, w.Code, w.Body)
		case w.Code == http.StatusUnprocessableEntity && (twice || !strings.HasPrefix(plain, "application/json")):
			t.Errorf("%q is read", kind)
		case w.Code == http.StatusUnsupportedMediaType && !twice && (kind == "application/json" || kind == "application/json; charset=utf-8"):
			t.Errorf("%q is refused", kind)
		}
		if _, parameters, _ := strings.Cut(plain, ";"); w.Code == http.StatusUnprocessableEntity && parameters != "" && !strings.HasPrefix(parameters, "charset") {
			t.Errorf("%q is read", kind)
		}
	})
}
