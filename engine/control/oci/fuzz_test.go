package oci

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/journal"
)

// isFault fails a test unless the error is one that a caller is told.
func isFault(t *testing.T, err error) {
	t.Helper()
	var f *fault
	if !errors.As(err, &f) || f.status < 400 || f.status >= 500 || f.code == "" || len(f.message) > 1000 {
		t.Fatalf("%v", err)
	}
}

// FuzzUpload: a body is read, and everything in it is within its bounds, or refused.
func FuzzUpload(f *testing.F) {
	f.Add(`{"compartmentId":"c","imageId":"i","kmsKeyId":"k","kmsKeyVersionId":"v","message":"m","signature":"s","signingAlgorithm":"sha_256_rsa_pkcs_pss",` +
		`"freeformTags":{"a":"b"},"definedTags":{"n":{"a":1,"b":true,"c":"d"}}}`)
	for _, seed := range []string{"", "{}", "[]", "null", `{"a":[[[[[]]]]]}`, `{"a":1}{}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"imageId":"\u0000"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		u, err := parseUpload([]byte(body))
		if err != nil {
			isFault(t, err)
			return
		}
		for most, values := range map[int][]string{100: {u.CompartmentID}, 255: {u.ImageID, u.KMSKeyID, u.KMSKeyVersionID}, 1 << 30: {u.Message, u.Signature}} {
			for _, v := range values {
				if n := utf8.RuneCountInString(v); n < 1 || n > most || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
					t.Fatalf("%q", v)
				}
			}
		}
		if len(u.FreeformTags)+len(u.DefinedTags) > maxTags || !json.Valid([]byte(u.FreeformTags)) || !json.Valid([]byte(u.DefinedTags)) || strings.Contains(u.FreeformTags+u.DefinedTags, "\x00") {
			t.Fatalf("%s %s", u.FreeformTags, u.DefinedTags)
		}
	})
}

// FuzzQuery: what is read of a query is within its bounds, or refused.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "compartmentId=c&limit=1&sortBy=TIMECREATED&sortOrder=asc&repositoryName=foo*&isVersioned=true", "page=eyJzIjoiVElNRUNSRUFURUQiLCJvIjoiREVTQyIsIm0iOjEsIm4iOiJhIiwiaSI6Mn0",
		"limit=0", "a=1&a=2", "a;b", "%zz", "page=%00", "imageId=%ff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err != nil {
			isFault(t, err)
			return
		}
		c := &call{query: q}
		var filter journal.ImageSignatureFilter
		if page, err := c.sorting(&filter); err != nil {
			isFault(t, err)
		} else if filter.Limit < 1 || filter.Limit > maxLimit || page.SortBy == "" || page.Order == "" || filter.After != nil && strings.Contains(filter.After.Name, "\x00") {
			t.Fatalf("%+v %+v", page, filter)
		}
		l, id, name, err := (&handler{}).imageFilter(c)
		if err != nil {
			isFault(t, err)
		} else if strings.ContainsFunc(id+name+l.version+l.displayName+l.digest+l.imageID, unicode.IsControl) {
			t.Fatalf("%+v", l)
		}
		for _, page := range []any{&imagePage{}, &repositoryPage{}} {
			if there, err := q.page(page); err != nil {
				isFault(t, err)
			} else if again, err := pageToken(page); there && (err != nil || (query{"page": again}).mustRead(t, page)) {
				t.Fatalf("%+v, %v", page, err)
			}
		}
	})
}

// mustRead reports whether a page token is not read as it was written.
func (q query) mustRead(t *testing.T, want any) bool {
	t.Helper()
	got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
	there, err := q.page(got)
	return err != nil || !there || !reflect.DeepEqual(got, want)
}

// FuzzIDs: an image has one id, and what is no id is none.
func FuzzIDs(f *testing.F) {
	id, _ := imageID("prod", "library/app", "sha256:"+strings.Repeat("0f", 32))
	f.Add(id)
	f.Add(id[:len(id)-1] + "b")
	f.Add(strings.ToUpper(id))
	f.Add(imagePrefix)
	f.Fuzz(func(t *testing.T, id string) {
		repository, digest, ok := parseImageID(id)
		if !ok {
			return
		}
		again := imagePrefix + strings.TrimPrefix(repository, repositoryPrefix)
		if !digestRE.MatchString(digest) || !strings.HasPrefix(id, again) || len(id) > 255 {
			t.Fatalf("%s: %s, %s", id, repository, digest)
		}
		made, ok := imageID("a", "b", digest)
		if !ok || made[len(imagePrefix)+hashChars:] != id[len(imagePrefix)+hashChars:] {
			t.Fatalf("%s has also the id %s", id, made)
		}
	})
}

// FuzzRoute: every path leads to an operation with an id that is one segment, or
// nowhere.
func FuzzRoute(f *testing.F) {
	for path := range routes {
		f.Add(http.MethodGet, Prefix+"container/"+path)
	}
	f.Add(http.MethodDelete, Prefix+"container/imageSignatures/../x")
	f.Fuzz(func(t *testing.T, method, path string) {
		do, id, err := route(method, path)
		if err != nil {
			isFault(t, err)
			return
		}
		if do.run == nil || strings.Contains(id, "/") || !strings.HasPrefix(path, Prefix+"container/") {
			t.Fatalf("%s %s: %q", method, path, id)
		}
	})
}

// FuzzReference: an image's URI is split in one way.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{"a/b:c", "a@sha256:x", "a:b@sha256:x", "a", ":", "@", "a:b/c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		repository, ref, version := splitReference(s)
		if len(repository)+len(ref) > len(s) || version != "" && (version != ref || repository+":"+ref != s) || !strings.HasPrefix(s, repository) || !strings.HasSuffix(s, ref) {
			t.Fatalf("%q: %q, %q, %q", s, repository, ref, version)
		}
	})
}

// TestQueryOnce: a name is there once, however it is escaped.
func TestQueryOnce(t *testing.T) {
	t.Parallel()
	q, err := parseQuery(url.Values{"a": {"1"}}.Encode())
	if err != nil || q["a"] != "1" {
		t.Error(q, err)
	}
	_, err = parseQuery("a=1&%61=2")
	isFault(t, err)
}
