package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An odd registry lists tags in its own order and in pages with tokens, and
// does with last what it likes.
type oddRegistry struct {
	tags []string
	last func(tags []string, last string) int // where to begin
}

func (s *oddRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Docker-Content-Digest", sum([]byte(r.URL.Path)).String())
		w.Header().Set("Content-Type", ociManifest)
		w.Header().Set("Content-Length", "2")
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/tags/list") {
		return
	}
	query := r.URL.Query()
	from := 0
	if token := query.Get("token"); token != "" {
		from, _ = strconv.Atoi(token)
	} else if query.Has("last") {
		from = s.last(s.tags, query.Get("last"))
	}
	n, _ := strconv.Atoi(query.Get("n"))
	end := min(from+n, len(s.tags))
	if end < len(s.tags) {
		w.Header().Set("Link", "<?"+url.Values{"token": {strconv.Itoa(end)}, "n": {query.Get("n")}}.Encode()+`>; rel="next"`)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"tags": s.tags[from:end]})
}

func ignoresLast([]string, string) int { return 0 }

// honoursLast begins after last, wherever that is in its own order.
func honoursLast(tags []string, last string) int { return slices.Index(tags, last) + 1 }

func includesLast(tags []string, last string) int { return slices.Index(tags, last) }

// inSlices lists in slices of some artifacts, as the engine does: each goes on
// after the last artifact of the one before.
func inSlices(t *testing.T, i Inventory, q Query, size int) (list []Artifact) {
	t.Helper()
	for range 1000 {
		before := len(list)
		for a, err := range i.Artifacts(t.Context(), q) {
			if err != nil {
				t.Fatalf("%v: %v", a, err)
			}
			list = append(list, a)
			q.After = a.Cursor
			if len(list) == before+size {
				break
			}
		}
		if len(list) < before+size {
			return list
		}
	}
	t.Fatalf("no end after %d artifacts", len(list))
	return nil
}

func tagsOf(list []Artifact) []string {
	tags, _ := split(list)
	return tags
}

// withOnePlace keeps HEADs from being sent ahead, so that they can be counted.
func withOnePlace(host string, pageSize int) Config {
	cfg := config(host)
	cfg.Limits.Concurrency, cfg.PageSize = 1, pageSize
	return cfg
}

func TestInterruptedListingsEndOnEveryRegistry(t *testing.T) {
	sorted := manyTags(20)
	newestFirst := slices.Clone(sorted)
	slices.Reverse(newestFirst)
	var numbered []string // in an order that is not that of the names
	for i := range 20 {
		numbered = append(numbered, fmt.Sprint("build-", i+1))
	}
	turned := append(slices.Clone(sorted[10:]), sorted[:10]...) // pages are sorted, the listing is not
	for order, tags := range map[string][]string{
		"sorted": sorted, "newest first": newestFirst, "numbered": numbered, "turned": turned,
	} {
		for does, last := range map[string]func([]string, string) int{
			"ignores": ignoresLast, "honours": honoursLast, "includes": includesLast,
		} {
			for _, pageSize := range []int{5, 6, 1000} {
				t.Run(fmt.Sprint(order, " ", does, " ", pageSize), func(t *testing.T) {
					r := open(t, withOnePlace(serve(t, &oddRegistry{tags: tags, last: last}), pageSize))
					got := inSlices(t, r, Query{Repository: "app", Tags: always}, 3)
					want(t, tagsOf(got), tags, "tags, each once")
					want(t, r.Requests().Method(http.MethodHead), 20, "HEADs")
				})
			}
		}
	}
}

// Real registries, behind something that strips last.
func TestInterruptedListingsEndWithoutLast(t *testing.T) {
	for name, handler := range registries(t) {
		t.Run(name, func(t *testing.T) {
			r := open(t, withOnePlace(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				query := r.URL.Query()
				query.Del("last")
				r.URL.RawQuery = query.Encode()
				handler.ServeHTTP(w, r)
			})), 1000))
			for _, tag := range manyTags(12) {
				pushImage(t, r, "app", tag, "same")
			}
			sent := counts(r)
			got := inSlices(t, r, Query{Repository: "app", Tags: always}, 4)
			want(t, tagsOf(got), manyTags(12), "tags, each once")
			want(t, sent()["HEAD 200"], 12, "HEADs")
		})
	}
}

func TestInterruptedListingsWhoseTagIsGone(t *testing.T) {
	lexical := func(tags []string, last string) int {
		return len(tags) - len(slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return tag <= last }))
	}
	tests := map[string]struct {
		tags []string
		last func([]string, string) int
		want []string
	}{
		"sorted, ignores":          {[]string{"a", "b", "d", "e"}, ignoresLast, []string{"d", "e"}},
		"sorted, honours":          {[]string{"a", "b", "d", "e"}, lexical, []string{"d", "e"}},
		"all before it gone":       {[]string{"d", "e"}, lexical, []string{"d", "e"}},
		"all after it gone":        {[]string{"a", "b"}, ignoresLast, nil},
		"nothing left":             {nil, ignoresLast, nil},
		"not sorted":               {[]string{"e", "a", "d", "b"}, ignoresLast, []string{"e", "a", "d", "b"}},
		"not sorted after a while": {[]string{"a", "b", "d", "e", "b2"}, ignoresLast, []string{"a", "b", "d", "e", "b2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := collect(t, paged(t, &oddRegistry{tags: test.tags, last: test.last}, 2), "c")
			if err != nil {
				t.Fatal(err)
			}
			want(t, got, test.want, "tags")
		})
	}
}

// What is not the probe's answer is not skipped over.
func TestInterruptedListingsFail(t *testing.T) {
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") && !r.URL.Query().Has("last") {
			status(http.StatusForbidden)(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"tags":["a"]}`)
	}))
	got, err := collect(t, client(t, config(host)), "c")
	want(t, got, nil, "tags")
	wants(t, err, ErrForbidden, "error")
}

// An artifact that is not valid has the cursor of the one before it.
func TestCursorsOfInvalidTags(t *testing.T) {
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `{"tags":["!","a","b","\u0000","c!","d"]}`)
			return
		}
		(&oddRegistry{}).ServeHTTP(w, r)
	}))
	var got []string
	q := Query{Repository: "app", Tags: func(tag string) bool { return tag != "b" }}
	for a, err := range open(t, config(host)).Artifacts(t.Context(), q) {
		got = append(got, fmt.Sprintf("%s %t %s", a.Tags[0], err == nil, a.Cursor))
	}
	want(t, got, []string{"! false ", "a true a", " false b", "c! false b", "d true d"}, "tags and cursors")
}

func layoutWith(t *testing.T, entries ...layoutDescriptor) (r Registry, rewrite func(...layoutDescriptor)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	newLayout(t, dir)
	rewrite = func(entries ...layoutDescriptor) {
		t.Helper()
		raw := encode(t, map[string]any{"schemaVersion": 2, "manifests": entries})
		if err := os.WriteFile(filepath.Join(dir, layoutIndex), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(entries...)
	return layoutOver(t, dir), rewrite
}

func layoutEntry(tag, content string) layoutDescriptor {
	d := layoutDescriptor{MediaType: ociManifest, Digest: sum([]byte(content)).String()}
	if tag != "" {
		d.Annotations = map[string]string{refAnnotation: tag}
	}
	return d
}

func TestLayoutListingsGoOn(t *testing.T) {
	var entries []layoutDescriptor
	tags := []string{"z", "b", "y", "a", "x"}
	for _, tag := range tags {
		entries = append(entries, layoutEntry(tag, tag))
	}
	r, rewrite := layoutWith(t, entries...)
	asked := 0
	q := Query{Repository: "app", Tags: func(string) bool { asked++; return true }}
	got := inSlices(t, r, q, 1)
	want(t, tagsOf(got), tags, "tags, each once")
	want(t, asked, len(tags), "tags looked at, each once")

	q.After = got[1].Cursor // b
	rest := func(entries ...layoutDescriptor) []string {
		t.Helper()
		rewrite(entries...)
		return tagsOf(artifacts(t, r, q))
	}
	want(t, rest(entries...), []string{"y", "a", "x"}, "after the cursor")
	moved := append(slices.Delete(slices.Clone(entries), 1, 2), layoutEntry("b", "new b"))
	want(t, rest(moved...), []string{"z", "y", "a", "x", "b"}, "its tag has moved: from the start")
	want(t, rest(moved[:4]...), []string{"z", "y", "a", "x"}, "its tag is gone: from the start")
}

func TestLayoutCursorsOfInvalidEntries(t *testing.T) {
	badDigest := layoutEntry("c", "")
	badDigest.Digest = "sha256:../../x"
	sha512 := layoutEntry("", "")
	sha512.Digest = "sha512:" + strings.Repeat("0", 128)
	good := layoutEntry("a", "a")
	r, _ := layoutWith(t, good, layoutEntry("not valid", "b"), badDigest, sha512, layoutEntry("d", "d"))
	cursor := "a@" + good.Digest
	var got []string
	for a, err := range r.Artifacts(t.Context(), Query{Repository: "app", Tags: always, Untagged: true}) {
		if !strings.HasPrefix(a.Cursor, cursor) && err != nil {
			t.Errorf("%v (%v) has cursor %q", a, err, a.Cursor)
		}
		got = append(got, fmt.Sprint(a.Tags, err == nil))
	}
	want(t, got, []string{"[a] true", "[not valid] false", "[c] false", "[] false", "[d] true"}, "entries")
}

// The cursor of an untagged artifact says that all tagged ones were dealt with.
func TestLayoutEveryCursorContinues(t *testing.T) {
	dir := t.TempDir()
	newLayout(t, filepath.Join(dir, "team", "app"))
	r := layoutOver(t, dir)
	populate(t, r)
	q := Query{Repository: "team/app", Tags: always, Untagged: true}
	all := artifacts(t, r, q)
	_, untagged := split(all)
	want(t, len(untagged), 3, "untagged artifacts")
	for i, a := range all {
		q.After = a.Cursor
		want(t, append([]Artifact{}, artifacts(t, r, q)...), all[i+1:], "after "+a.Cursor)
	}
	want(t, inSlices(t, r, Query{Repository: "team/app", Tags: always, Untagged: true}, 1), all, "in slices of one")
}
