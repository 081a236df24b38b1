package apig

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzRoute: a path that is an operation's is one in one way only.
func FuzzRoute(f *testing.F) {
	const base = "/v2/p/apigw/instances/"
	for _, path := range []string{base + "i/signs", base + "i/signs/0", base + "i%2Fj/sign-bindings/binded-apis", base + "i/../signs", base + "i//signs", "/", base + "%2e/signs", "//v2"} {
		f.Add("GET", path)
		f.Add("DELETE", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		to, ok := route(&http.Request{Method: method, URL: u})
		if !ok {
			return
		}
		if to.run == nil || to.role == 0 || to.instance == "" || to.instance == "." || to.instance == ".." || to.id == "." || to.id == ".." {
			t.Errorf("%s %q: %+v", method, path, to)
		}
		if n := strings.Count(u.EscapedPath(), "/"); n != 6 && n != 7 {
			t.Errorf("%s %q: %d slashes", method, path, n)
		}
	})
}

// FuzzFilter: pages stay in their bounds.
func FuzzFilter(f *testing.F) {
	for _, query := range []string{"", "offset=1&limit=2", "limit=-1", "limit=1e3", "offset=9223372036854775807", "limit=1&limit=2", "name=a"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		list := filter{query: values}
		part := list.page()
		if part.offset < 0 || part.limit < 1 || part.limit > 500 {
			t.Errorf("%q: %+v", query, part)
		}
		items, n := cut(part, make([]int, 7))
		if items == nil || len(items) > 7 || n.Size != len(items) || n.Total != 7 {
			t.Errorf("%q: %+v", query, n)
		}
	})
}
