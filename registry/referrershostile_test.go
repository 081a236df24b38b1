package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// lister answers the referrers API with what page writes, page 0 first.
type lister struct {
	asked atomic.Int64
	page  func(w http.ResponseWriter, r *http.Request, page int)
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isReferrersPath(r) {
		inMemory().ServeHTTP(w, r)
		return
	}
	l.asked.Add(1)
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	w.Header().Set("Content-Type", ociIndex)
	l.page(w, r, page)
}

func follow(w http.ResponseWriter, target string) {
	w.Header().Set("Link", "<"+target+`>; rel="next"`)
}

// entries are n entries of one type, numbered from from.
func entries(from, n int, artifactType string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":10,"artifactType":%q}`, ociManifest, from+i, artifactType)
	}
	return strings.Join(list, ",")
}

func writeList(w io.Writer, entries string) {
	_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[`+entries+`]}`)
}

// numbered is the digest of the n-th of entries.
func numbered(n int) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", n)} }

func TestReferrersHostile(t *testing.T) {
	elsewhere := &lister{page: func(w http.ResponseWriter, _ *http.Request, _ int) { writeList(w, "") }}
	otherHost := serve(t, elsewhere)
	for _, test := range []struct {
		name  string
		page  func(w http.ResponseWriter, r *http.Request, page int)
		err   error
		found int
		asked int64 // 0: does not matter
	}{
		{name: "next page at another host", err: ErrCorrupt, asked: 1, page: func(w http.ResponseWriter, r *http.Request, _ int) {
			follow(w, "http://"+otherHost+r.URL.Path)
			writeList(w, "")
		}},
		{name: "redirect to another host", err: ErrUnsupported, asked: 1, page: func(w http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(w, r, "http://"+otherHost+r.URL.Path, http.StatusTemporaryRedirect)
		}},
		{name: "next page is no URL", err: ErrCorrupt, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			follow(w, "::")
			writeList(w, "")
		}},
		{name: "a page that follows itself", err: ErrTooLarge, asked: 2, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			follow(w, "?page=1")
			writeList(w, "")
		}},
		{name: "pages in a circle", err: ErrTooLarge, asked: 12, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			follow(w, fmt.Sprintf("?page=%d", (page+1)%5))
			writeList(w, "")
		}},
		{name: "pages without end", err: ErrTooLarge, asked: maxReferrersPages, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			follow(w, fmt.Sprintf("?page=%d", page+1))
			writeList(w, entries(page, 1, notationType))
		}},
		{name: "second page is missing", err: ErrNotFound, asked: 2, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			if page == 1 {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			follow(w, "?page=1")
			writeList(w, "")
		}},
		{name: "second page is for people", err: ErrCorrupt, asked: 2, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			if page == 1 {
				w.Header().Set("Content-Type", "text/html")
			}
			follow(w, "?page=1")
			writeList(w, "")
		}},
		{name: "100,000 on one page", err: ErrTooLarge, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			writeList(w, strings.Repeat("{},", 99_999)+"{}")
		}},
		{name: "100,000 wanted on many pages", err: ErrTooLarge, asked: 2, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			follow(w, fmt.Sprintf("?page=%d", page+1))
			writeList(w, entries(page*1000, 1000, bundleType))
		}},
		{name: "one too many", err: ErrTooLarge, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			writeList(w, entries(0, MaxReferrers+1, bundleType))
		}},
		{name: "as many as there may be, among others", found: MaxReferrers, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			writeList(w, entries(5000, 5000, notationType)+","+entries(0, MaxReferrers, bundleType))
		}},
		{name: "the same again and again", found: 10, asked: 100, page: func(w http.ResponseWriter, _ *http.Request, page int) {
			if page < 99 {
				follow(w, fmt.Sprintf("?page=%d", page+1))
			}
			writeList(w, entries(0, 10, bundleType)+","+entries(0, 10, bundleType))
		}},
		{name: "too many without a type", err: ErrTooLarge, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			writeList(w, entries(0, maxInspected+1, ""))
		}},
		{name: "without a type and not there", found: 0, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			writeList(w, entries(0, maxInspected, emptyConfig))
		}},
		{name: "huge body of a known size", err: ErrTooLarge, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Length", strconv.Itoa(maxReferrersBody+1))
			_, _ = io.WriteString(w, strings.Repeat(" ", maxReferrersBody+1))
		}},
		{name: "huge body of an unknown size", err: ErrTooLarge, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			blank := strings.Repeat(" ", 1<<16)
			for range maxReferrersBody/len(blank) + 2 {
				if _, err := io.WriteString(w, blank); err != nil {
					return
				}
			}
		}},
		{name: "two lists", err: ErrCorrupt, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			_, _ = io.WriteString(w, `{"manifests":[],"Manifests":[`+entries(0, 1, bundleType)+`]}`)
		}},
		{name: "malformed entries", found: 1, asked: 1, page: func(w http.ResponseWriter, _ *http.Request, _ int) {
			n := 0
			bad := func(old, replacement string) string {
				n++
				return strings.Replace(entries(n, 1, bundleType), old, replacement, 1)
			}
			writeList(w, strings.Join([]string{
				`null`, `3`, `"x"`, `[]`, `{}`,
				bad("sha256:0", "sha256:"),
				bad("sha256:00", "sha256:../"),
				bad("sha256", "md5"),
				bad(ociManifest, ociLayer),
				bad(ociManifest, ""),
				bad(`"size":10`, `"size":-1`),
				bad(`"size":10`, `"size":1e99`),
				bad(`"size":10`, fmt.Sprintf(`"size":%d`, MaxManifest+1)),
				bad(`"size":10`, `"size":10,"annotations":{"a":{}}`),
				entries(100, 1, bundleType),
			}, ","))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &lister{page: test.page}
			r := NewReferrers(client(t, config(serve(t, l))))
			r.known.learn(Capability{API: true})
			r.known.prove()
			list, err := r.List(t.Context(), "app", numbered(1<<40), isOneOf([]string{bundleType}))
			if test.err != nil {
				wants(t, err, test.err, "error")
			} else if err != nil {
				t.Fatal(err)
			}
			want(t, len(list), test.found, "how many were found")
			if asked := l.asked.Load(); test.asked != 0 && asked != test.asked || asked > maxReferrersPages {
				t.Errorf("asked %d times, want %d", asked, test.asked)
			}
		})
	}
	want(t, elsewhere.asked.Load(), 0, "requests to another host")
}

// TestHostileFallback: the same for the index that anybody may push.
func TestHostileFallback(t *testing.T) {
	for _, test := range []struct {
		name, manifests string
		err             error
		found           int
	}{
		{"one too many", entries(0, MaxReferrers+1, bundleType), ErrTooLarge, 0},
		{"as many as there may be, among others", entries(5000, 5000, notationType) + "," + entries(0, MaxReferrers, bundleType), nil, MaxReferrers},
		{"more than are read", strings.Repeat("{},", maxIndexEntries) + "{}", ErrTooLarge, 0},
		{"too many without a type", entries(0, maxInspected+1, ""), ErrTooLarge, 0},
		{"without a type and not there", entries(0, maxInspected, ""), nil, 0},
		{"two lists", `],"Manifests":[`, ErrCorrupt, 0},
		{"malformed", `{"digest":"x"},` + entries(0, 1, bundleType), nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := layoutStore(t)
			r, subject := NewReferrers(s), numbered(1<<40)
			raw := `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":[` + test.manifests + `]}`
			put(t, s, "app", FallbackTag(subject), ociIndex, []byte(raw))
			list, err := r.List(t.Context(), "app", subject, isOneOf([]string{bundleType}))
			if test.err != nil {
				wants(t, err, test.err, "error")
			} else if err != nil {
				t.Fatal(err)
			}
			want(t, len(list), test.found, "how many were found")
		})
	}
}

// TestFallbackGrowsTooLarge: an index that no registry would accept is not
// written.
func TestFallbackGrowsTooLarge(t *testing.T) {
	s := layoutStore(t)
	r, subject := NewReferrers(s), pushImage(t, s, "app", "v1", "a")
	filler := strings.Repeat("x", MaxManifest-300)
	full := put(t, s, "app", FallbackTag(subject.Digest), ociIndex,
		[]byte(`{"schemaVersion":2,"mediaType":"`+ociIndex+`","manifests":[],"annotations":{"x":"`+filler+`"}}`))
	_, err := r.Put(t.Context(), "app", subject.Digest, ociManifest, referring(t, s, subject, bundleType, "x"))
	wants(t, err, ErrTooLarge, "Put")
	d, err := s.Resolve(t.Context(), "app", FallbackTag(subject.Digest))
	if err != nil || d.Digest != full.Digest {
		t.Errorf("the tag names %v, %v", d, err)
	}
}

// TestReferrersCancelled: waiting for a turn ends with the context.
func TestReferrersCancelled(t *testing.T) {
	s := layoutStore(t)
	r, subject := NewReferrers(s), pushImage(t, s, "app", "v1", "a")
	raw := referring(t, s, subject, bundleType, "x")
	done, err := r.turns.Take(t.Context(), "app:"+FallbackTag(subject.Digest))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := r.Put(ctx, "app", subject.Digest, ociManifest, raw)
		result <- err
	}()
	cancel()
	wants(t, <-result, context.Canceled, "Put")
	done()
}
