package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A tagServer lists tags in pages, by the specification unless it is told not
// to.
type tagServer struct {
	tags   []string
	pages  atomic.Int64
	link   func(r *http.Request, last string) string // nil: relative
	noLink bool
	noLast bool
	most   int // answers PAGINATION_NUMBER_INVALID above
}

func (s *tagServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/tags/list") {
		return
	}
	s.pages.Add(1)
	query := r.URL.Query()
	from := 0
	if last := query.Get("last"); last != "" && !s.noLast {
		from = len(s.tags)
		if at := slices.Index(s.tags, last); at >= 0 {
			from = at + 1
		}
	}
	n := len(s.tags)
	if text := query.Get("n"); text != "" {
		n, _ = strconv.Atoi(text)
	}
	if s.most > 0 && n > s.most && query.Get("n") != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"PAGINATION_NUMBER_INVALID","message":"too many"}]}`)
		return
	}
	if s.most > 0 {
		n = min(n, s.most)
	}
	list := s.tags[from:min(from+n, len(s.tags))]
	if from+n < len(s.tags) && !s.noLink {
		link := r.URL.Path + "?" + url.Values{"last": {list[len(list)-1]}, "n": {strconv.Itoa(n)}}.Encode()
		if s.link != nil {
			link = s.link(r, list[len(list)-1])
		}
		w.Header().Set("Link", "<"+link+`>; rel="next"`)
	}
	fmt.Fprintf(w, `{"name":"app","manifest":{"deep":[{"tags":["no"]}]},"tags":[`)
	for i, tag := range list {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		fmt.Fprintf(w, "%q", tag)
	}
	_, _ = io.WriteString(w, "]}")
}

func manyTags(n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("v%06d", i)
	}
	return tags
}

func paged(t *testing.T, handler http.Handler, size int) *Client {
	t.Helper()
	cfg := config(serve(t, handler))
	cfg.PageSize = size
	return client(t, cfg)
}

func collect(t *testing.T, c *Client, after string) (tags []string, err error) {
	t.Helper()
	for tag, err := range c.Tags(t.Context(), "app", after) {
		if err != nil {
			return tags, err
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

func TestTagsFollowLinks(t *testing.T) {
	tags := manyTags(25)
	tests := map[string]struct {
		server *tagServer
		pages  int64
	}{
		"relative": {&tagServer{}, 3},
		"absolute": {&tagServer{link: func(r *http.Request, last string) string {
			return "http://" + r.Host + r.URL.Path + "?n=10&last=" + last
		}}, 3},
		"other scheme": {&tagServer{link: func(r *http.Request, last string) string {
			return "https://" + r.Host + r.URL.Path + "?n=10&last=" + last
		}}, 3},
		"only a query":       {&tagServer{link: func(_ *http.Request, last string) string { return "?n=10&last=" + last }}, 3},
		"smaller pages":      {&tagServer{most: 7, link: func(_ *http.Request, last string) string { return "?n=7&last=" + last }}, 5},
		"no links":           {&tagServer{noLink: true}, 3},
		"size is refused":    {&tagServer{most: 5}, 6},
		"everything at once": {&tagServer{noLink: true, noLast: true, tags: tags[:9]}, 1},
		"cut, and that's it": {&tagServer{noLink: true, noLast: true, tags: tags}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := test.server
			expected := tags
			switch {
			case server.tags == nil:
				server.tags = tags
			case server.noLast:
				expected = server.tags[:min(10, len(server.tags))]
			}
			got, err := collect(t, paged(t, server, 10), "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Error(diff)
			}
			want(t, server.pages.Load(), test.pages, "pages")
		})
	}
}

func TestTagsAfter(t *testing.T) {
	server := &tagServer{tags: manyTags(25)}
	got, err := collect(t, paged(t, server, 10), "v000017")
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, manyTags(25)[18:], "tags")
	want(t, server.pages.Load(), 2, "pages: one more shows that the registry does not start again")
}

// Memory is one page, whatever the listing: pages are fetched only when all
// before them has been used, and are let go.
func TestTagsHoldOnePage(t *testing.T) {
	const total, size = 10_000, 1000
	server := &tagServer{tags: manyTags(total)}
	c := paged(t, server, size)
	var live atomic.Int64
	fetch := func(ctx context.Context, l listing, from *url.URL) (*page, error) {
		p, err := c.page(ctx, l, from)
		if err == nil { // pages are watched by their addresses
			live.Add(1)
			runtime.AddCleanup(p, func(*atomic.Int64) { live.Add(-1) }, &live)
		}
		return p, err
	}
	var most int64
	n := 0
	for tag, err := range c.tags(t.Context(), "app", "", fetch) {
		if err != nil {
			t.Fatal(err)
		}
		want(t, tag, server.tags[n], "tag")
		n++
		if n%size == 1 { // in the middle of a page that has just come
			want(t, server.pages.Load(), int64((n+size-1)/size), "pages fetched")
			for range 3 {
				runtime.GC()
			}
			for tries := 0; live.Load() > 2 && tries < 100; tries++ {
				runtime.GC()
				runtime.Gosched()
			}
			most = max(most, live.Load())
		}
	}
	want(t, n, total, "tags")
	want(t, server.pages.Load(), int64(total/size), "pages")
	if most > 2 { // this one, and the one that a register may still point to
		t.Errorf("%d pages alive", most)
	}
}

func TestTagsStopWhenNobodyListens(t *testing.T) {
	server := &tagServer{tags: manyTags(100)}
	c := paged(t, server, 10)
	n := 0
	for range c.Tags(t.Context(), "app", "") {
		if n++; n == 10 {
			break
		}
	}
	want(t, server.pages.Load(), 1, "pages")
}

func TestBadListings(t *testing.T) {
	page := func(link, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			if link != "" {
				w.Header().Set("Link", link)
			}
			_, _ = io.WriteString(w, body)
		}
	}
	loops := atomic.Int64{}
	tests := map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"another host": {page(`<http://evil.example/v2/app/tags/list>; rel=next`, `{"tags":["a"]}`), ErrCorrupt},
		"another port": {page(`<http://127.0.0.1:1/v2/app/tags/list>; rel=next`, `{"tags":["a"]}`), ErrCorrupt},
		"no host":      {page(`<//>; rel=next`, `{"tags":["a"]}`), ErrCorrupt},
		"itself":       {page(`<?n=10>; rel=next`, `{"tags":["a"]}`), ErrCorrupt},
		"circle of two": {func(w http.ResponseWriter, r *http.Request) {
			page(fmt.Sprintf(`<?n=%d>; rel=next`, loops.Add(1)%2), `{"tags":["a"]}`)(w, r)
		}, ErrCorrupt},
		"empty for ever": {func(w http.ResponseWriter, r *http.Request) {
			page(fmt.Sprintf(`<?page=%d>; rel=next`, loops.Add(1)), `{"tags":[]}`)(w, r)
		}, ErrCorrupt},
		"no JSON":     {page("", `<html>`), ErrCorrupt},
		"a list":      {page("", `["a"]`), ErrCorrupt},
		"numbers":     {page("", `{"tags":[1]}`), ErrCorrupt},
		"a string":    {page("", `{"tags":"a"}`), ErrCorrupt},
		"truncated":   {page("", `{"tags":["a"`), ErrCorrupt},
		"empty names": {page("", `{"tags":[""]}`), ErrCorrupt},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(maxPageBody+1))
		}, ErrTooLarge},
		"too many":  {page("", `{"tags":["a"`+strings.Repeat(`,"a"`, maxPageItems)+`]}`), ErrTooLarge},
		"not found": {status(404), ErrNotFound},
		"null":      {page("", `{"name":"app","tags":null}`), nil},
		"nothing":   {page("", `{"name":"app"}`), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ping := instead(test.handler, 1, func(r *http.Request) bool { return r.URL.Path == "/v2/" }, jsonBody(`{}`))
			_, err := collect(t, paged(t, ping, 10), "")
			wants(t, err, test.want, "error")
		})
	}
}

func TestInvalidNamesAreErrorsOfTheirOwn(t *testing.T) {
	c := client(t, config(serve(t, jsonBody(`{"tags":["a","b/../c","d"],"repositories":["x","../y","Z","z/z"]}`))))
	listed := map[string][]string{}
	for tag, err := range c.Tags(t.Context(), "app", "") {
		listed["tags"] = append(listed["tags"], fmt.Sprint(tag, " ", err == nil))
	}
	for repository, err := range c.Catalog(t.Context()) {
		listed["repositories"] = append(listed["repositories"], fmt.Sprint(repository, " ", err == nil))
	}
	want(t, listed, map[string][]string{
		"tags":         {"a true", "b/../c false", "d true"},
		"repositories": {"x true", "../y false", "Z false", "z/z true"},
	}, "names")
}

// What Inventory says of Repositories: an error with a name is that name's
// alone, one without is the end.
func TestRepositoriesErrors(t *testing.T) {
	pages := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case r.URL.Query().Get("page") == "2":
			status(http.StatusForbidden)(w, r)
		default:
			w.Header().Set("Link", `<?page=2>; rel="next"`)
			_, _ = io.WriteString(w, `{"repositories":["good","../bad","team/good"]}`)
		}
	}
	type yielded struct {
		Repository string
		Kind       error
	}
	kind := func(err error) error {
		for _, sentinel := range []error{ErrCorrupt, ErrForbidden} {
			if errors.Is(err, sentinel) {
				return sentinel
			}
		}
		return err
	}
	var got []yielded
	for repository, err := range open(t, config(serve(t, http.HandlerFunc(pages)))).Repositories(t.Context()) {
		got = append(got, yielded{repository, kind(err)})
	}
	expected := []yielded{{"good", nil}, {"../bad", ErrCorrupt}, {"team/good", nil}, {"", ErrForbidden}}
	if !slices.Equal(got, expected) {
		t.Errorf("got %v, want %v", got, expected)
	}
}

func TestCatalog(t *testing.T) {
	for name, handler := range registries(t) {
		t.Run(name, func(t *testing.T) {
			cfg := config(serve(t, handler))
			if name == "distribution" { // the other one cuts catalogs, and cannot go on
				cfg.PageSize = 2
			}
			c := client(t, cfg)
			var names []string
			for i := range 7 {
				names = append(names, fmt.Sprintf("team-%d/app", i))
				pushImage(t, c, names[i], "v1", "a")
			}
			var got []string
			for repository, err := range c.Catalog(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, repository)
			}
			slices.Sort(got)
			want(t, got, names, "repositories")
		})
	}
	for _, code := range []int{404, 405} {
		c := client(t, config(serve(t, instead(inMemory(), 9, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "_catalog") }, status(code)))))
		for repository, err := range c.Catalog(t.Context()) {
			want(t, repository, "", "repository")
			wants(t, err, ErrUnsupported, "no catalog")
			if !strings.Contains(err.Error(), "does not list its repositories") {
				t.Errorf("unclear: %v", err)
			}
		}
	}
}

func TestNextLink(t *testing.T) {
	tests := map[string]string{
		`</v2/a?n=1&last=b>; rel="next"`:                               "/v2/a?n=1&last=b",
		`</a>; rel=next`:                                               "/a",
		`</a>;rel="next"`:                                              "/a",
		`</a>; REL="NEXT"`:                                             "/a",
		`</a>; rel="prev next"`:                                        "/a",
		`</a>; rel="prev", </b>; rel="next"`:                           "/b",
		`</a,b;c>; title="x, <y>; rel=next"; rel="next"`:               "/a,b;c",
		`</a>; title="say \"hi\", <z>"; rel=prev, </b>; rel=next; x=y`: "/b",
		`</a>; rel=prev; rel=next`:                                     "",
		`</a>; x; rel=next`:                                            "/a",
		`</a>; rel="nextpage"`:                                         "",
		`</a>`:                                                         "",
		`/a; rel=next`:                                                 "",
		`</a; rel=next`:                                                "",
		`<>; rel=next`:                                                 "",
		``:                                                             "",
	}
	for header, expected := range tests {
		got, found := nextLink([]string{`<x>; rel="first"`, header})
		if found != (expected != "") || found && got != expected {
			t.Errorf("%s: got %q, %t; want %q", header, got, found, expected)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{`</a>; rel="next"`, `</a>; rel=prev, </b>; rel=next`, `<a>; x="\"`, `<`, `;,=<>"`, `<a>;;;,,<b>;rel`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		target, found := nextLink([]string{header})
		if !found {
			return
		}
		if target == "" || !strings.Contains(header, "<"+target+">") {
			t.Errorf("%q: target %q", header, target)
		}
		c := &Client{scheme: "https"}
		if u, err := c.homeURL(&url.URL{Scheme: "https", Host: "reg.example"}, target); err == nil {
			t.Errorf("%q: %s is not at the empty host", header, u)
		}
	})
}

func FuzzDecodePage(f *testing.F) {
	for _, seed := range []string{`{"tags":["a","b"]}`, `{"name":"x","tags":null}`, `{"x":{"y":[1,{}]},"tags":[]}`, `{"tags":["a"`, `[]`, `{"tags":[1]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		items, err := decodePage(bytes.NewReader(raw), "tags")
		if err != nil {
			wants(t, err, ErrCorrupt, "error")
			return
		}
		for _, item := range items {
			if item == "" {
				t.Error("empty name")
			}
			if checkTag(item) == nil && len(c14n(item)) != len(item) {
				t.Errorf("%q is not a tag", item)
			}
		}
	})
}

// c14n drops what may not be in a tag.
func c14n(tag string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, tag)
}

func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"config":{},"layers":[]}`, `{"mediaType":"` + ociIndex + `","manifests":[{"digest":"x"}]}`,
		`{"schemaVersion":1}`, `{"layers":[],"manifests":[]}`, `[]`, ``, `{"layers":{}}`,
	} {
		f.Add([]byte(seed), ociManifest)
	}
	f.Fuzz(func(t *testing.T, raw []byte, said string) {
		m, err := newManifest(raw, said, sum(nil))
		if err == nil && len(raw) > 0 {
			t.Fatalf("a wrong digest was accepted: %v", m)
		}
		m, err = newManifest(raw, said, sum(raw))
		if err != nil {
			return
		}
		s, err := parseShape(m.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if m.MediaType == "" || IsIndex(m.MediaType) && s.isImage() || isImage(m.MediaType) && s.isIndex() || s.isImage() && s.isIndex() {
			t.Errorf("%s is taken for %q", raw, m.MediaType)
		}
		_ = IsSignature(m)
	})
}
