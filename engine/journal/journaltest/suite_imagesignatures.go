package journaltest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sealwright/sealwright/engine/journal"
)

// ImageSignature is one that can be stored.
func ImageSignature(id, repository string) journal.ImageSignature {
	return journal.ImageSignature{ID: id, Registry: "prod", Repository: repository, Digest: "sha256:1", CompartmentID: "c", ImageID: "image " + repository,
		KeyID: "key", KeyVersionID: "version", Algorithm: "SHA_256_RSA_PKCS_PSS", Message: "e30=", Signature: "AA==", DisplayName: "name " + id, Creator: "ci",
		FreeformTags: `{"a":"b"}`, DefinedTags: `{}`, ETag: "1"}
}

func storeSignature(t *testing.T, j *journal.Journal, s journal.ImageSignature, r journal.RetryToken) journal.ImageSignature {
	t.Helper()
	created, err := j.CreateImageSignature(t.Context(), s, r, 1000)
	must(t, err)
	return created
}

// testImageSignatures: what was stored is read back, changed and deleted.
func testImageSignatures(t *testing.T, j *journal.Journal) {
	before := time.Now().Add(-time.Second)
	want := ImageSignature("s1", "library/app")
	got := storeSignature(t, j, want, journal.RetryToken{})
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(journal.ImageSignature{}, "Number", "CreatedAt", "UpdatedAt")); d != "" ||
		got.Number == 0 || got.CreatedAt.Before(before) || !got.UpdatedAt.Equal(got.CreatedAt) {
		t.Fatalf("%+v %s", got, d)
	}
	if _, err := j.CreateImageSignature(t.Context(), want, journal.RetryToken{}, 1000); err == nil {
		t.Error("the same id twice")
	}
	changed, err := j.UpdateImageSignature(t.Context(), "s1", func(s *journal.ImageSignature) error {
		s.FreeformTags, s.DefinedTags, s.ETag = `{}`, `{"n":{}}`, "2"
		s.Digest, s.ID, s.Signature, s.Creator = "sha256:2", "s2", "AAAA", "mallory"
		return nil
	})
	got.FreeformTags, got.DefinedTags, got.ETag = `{}`, `{"n":{}}`, "2"
	if d := cmp.Diff(got, changed, cmpopts.IgnoreFields(journal.ImageSignature{}, "UpdatedAt")); d != "" || err != nil || changed.UpdatedAt.Before(changed.CreatedAt) {
		t.Fatal(d, err)
	}
	read, err := j.ImageSignature(t.Context(), "s1")
	if d := cmp.Diff(changed, read); d != "" || err != nil {
		t.Fatal(d, err)
	}
	refused := errors.New("no")
	_, err = j.UpdateImageSignature(t.Context(), "s1", func(s *journal.ImageSignature) error { s.ETag = "3"; return refused })
	wantError(t, err, refused)
	wantError(t, j.DeleteImageSignature(t.Context(), "s1", func(journal.ImageSignature) error { return refused }), refused)
	if read, err := j.ImageSignature(t.Context(), "s1"); err != nil || read.ETag != "2" {
		t.Fatal(read, err)
	}
	must(t, j.DeleteImageSignature(t.Context(), "s1", func(journal.ImageSignature) error { return nil }))
	for what, err := range map[string]error{
		"read":   second(j.ImageSignature(t.Context(), "s1")),
		"update": second(j.UpdateImageSignature(t.Context(), "s1", func(*journal.ImageSignature) error { return nil })),
		"delete": j.DeleteImageSignature(t.Context(), "s1", func(journal.ImageSignature) error { return nil }),
	} {
		if !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// testRetryTokens: a call that is made again makes nothing again.
func testRetryTokens(t *testing.T, j *journal.Journal) {
	token := journal.RetryToken{Caller: "ci", Token: "t", Call: "hash"}
	if s, ok, err := j.RetriedImageSignature(t.Context(), token); ok || err != nil {
		t.Fatal(s, err)
	}
	first := storeSignature(t, j, ImageSignature("s1", "app"), token)
	if again := storeSignature(t, j, ImageSignature("s2", "app"), token); again != first {
		t.Errorf("%+v, want %+v", again, first)
	}
	if s, ok, err := j.RetriedImageSignature(t.Context(), token); s != first || !ok || err != nil {
		t.Error(s, ok, err)
	}
	other := token
	other.Call = "another"
	_, err := j.CreateImageSignature(t.Context(), ImageSignature("s3", "app"), other, 1000)
	wantError(t, err, journal.ErrRetryToken)
	_, _, err = j.RetriedImageSignature(t.Context(), other)
	wantError(t, err, journal.ErrRetryToken)
	other.Caller = "mallory"
	if s := storeSignature(t, j, ImageSignature("s4", "app"), other); s.ID != "s4" {
		t.Error(s)
	}
	must(t, j.DeleteImageSignature(t.Context(), "s1", func(journal.ImageSignature) error { return nil }))
	_, err = j.CreateImageSignature(t.Context(), ImageSignature("s5", "app"), token, 1000)
	wantError(t, err, journal.ErrRetryToken)
	_, _, err = j.RetriedImageSignature(t.Context(), token)
	wantError(t, err, journal.ErrRetryToken)
	// What was refused left no token behind, or it could not be used.
	if _, err := j.CreateImageSignature(t.Context(), ImageSignature("s4", "app"), journal.RetryToken{Caller: "ci", Token: "fresh", Call: "x"}, 1000); err == nil {
		t.Fatal("an id twice")
	}
	storeSignature(t, j, ImageSignature("s6", "app"), journal.RetryToken{Caller: "ci", Token: "fresh", Call: "y"})
	list, _, err := j.ImageSignatures(t.Context(), journal.ImageSignatureFilter{})
	if d := cmp.Diff([]string{"s4", "s6"}, ids(list)); d != "" || err != nil {
		t.Error(d, err)
	}
}

// testRetryTokensAtOnce: of many calls with one token, one stores.
func testRetryTokensAtOnce(t *testing.T, j *journal.Journal) {
	var got sync.Map
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			s, err := j.CreateImageSignature(t.Context(), ImageSignature(fmt.Sprint("s", i), "app"), journal.RetryToken{Caller: "ci", Token: "t", Call: "hash"}, 1000)
			if err != nil {
				t.Error(err)
			}
			got.Store(s.ID, true)
		})
	}
	all.Wait()
	list, _, err := j.ImageSignatures(t.Context(), journal.ImageSignatureFilter{})
	if size(&got) != 1 || len(list) != 1 || err != nil {
		t.Errorf("%d results, %d stored, %v", size(&got), len(list), err)
	}
}

// testImageSignatureRaces: of many who change what they read, one does; nobody
// changes what is deleted.
func testImageSignatureRaces(t *testing.T, j *journal.Journal) {
	storeSignature(t, j, ImageSignature("s1", "app"), journal.RetryToken{})
	stale := errors.New("stale")
	match := func(s journal.ImageSignature) error {
		if s.ETag != "1" {
			return stale
		}
		return nil
	}
	var won sync.Map
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = j.UpdateImageSignature(t.Context(), "s1", func(s *journal.ImageSignature) error {
					defer func() { s.ETag = fmt.Sprint("by ", i) }()
					return match(*s)
				})
			} else {
				err = j.DeleteImageSignature(t.Context(), "s1", match)
			}
			switch {
			case err == nil:
				won.Store(i, true)
			case !errors.Is(err, stale) && !errors.Is(err, journal.ErrNotFound):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if size(&won) != 1 {
		t.Errorf("%d changed the same version", size(&won))
	}
}

func ids(list []journal.ImageSignature) []string {
	var all []string
	for _, s := range list {
		all = append(all, s.ID)
	}
	return all
}

// testImageSignatureFilters: each filter chooses what it says.
func testImageSignatureFilters(t *testing.T, j *journal.Journal) {
	for i, repository := range []string{"library/app", "library/app2", "library", "library-x/a", "team/app", "team_a/app", "team/%/x"} {
		s := ImageSignature(fmt.Sprint("s", i), repository)
		if i == 1 {
			s.Digest, s.DisplayName, s.KeyID, s.KeyVersionID, s.Algorithm = "sha256:9", "x", "k9", "v9", "SHA_512_RSA_PKCS_PSS"
		}
		if i == 4 {
			s.Registry = "other"
		}
		storeSignature(t, j, s, journal.RetryToken{})
	}
	for what, c := range map[string]struct {
		filter journal.ImageSignatureFilter
		want   []string
	}{
		"all":           {journal.ImageSignatureFilter{}, []string{"s0", "s1", "s2", "s3", "s4", "s5", "s6"}},
		"registry":      {journal.ImageSignatureFilter{Registries: []string{"other"}}, []string{"s4"}},
		"registries":    {journal.ImageSignatureFilter{Registries: []string{"other", "none"}}, []string{"s4"}},
		"repository":    {journal.ImageSignatureFilter{Repository: "library/app"}, []string{"s0"}},
		"prefix":        {journal.ImageSignatureFilter{Repository: "library/app", Prefix: true}, []string{"s0", "s1"}},
		"wild":          {journal.ImageSignatureFilter{Repository: "team_", Prefix: true}, []string{"s5"}},
		"wilder":        {journal.ImageSignatureFilter{Repository: "%", Prefix: true}, nil},
		"every prefix":  {journal.ImageSignatureFilter{Prefix: true}, []string{"s0", "s1", "s2", "s3", "s4", "s5", "s6"}},
		"namespace":     {journal.ImageSignatureFilter{Namespaces: []string{"library"}}, []string{"s0", "s1", "s2"}},
		"namespaces":    {journal.ImageSignatureFilter{Namespaces: []string{"library-x", "team"}}, []string{"s3", "s4", "s6"}},
		"both":          {journal.ImageSignatureFilter{Namespaces: []string{"library-x", "team"}, Registries: []string{"prod"}}, []string{"s3", "s6"}},
		"digest":        {journal.ImageSignatureFilter{Digest: "sha256:9"}, []string{"s1"}},
		"image":         {journal.ImageSignatureFilter{ImageID: "image library"}, []string{"s2"}},
		"display name":  {journal.ImageSignatureFilter{DisplayName: "x"}, []string{"s1"}},
		"key":           {journal.ImageSignatureFilter{KeyID: "k9"}, []string{"s1"}},
		"version":       {journal.ImageSignatureFilter{KeyVersionID: "v9"}, []string{"s1"}},
		"algorithm":     {journal.ImageSignatureFilter{Algorithm: "SHA_512_RSA_PKCS_PSS"}, []string{"s1"}},
		"contradiction": {journal.ImageSignatureFilter{KeyID: "k9", Digest: "sha256:1"}, nil},
	} {
		list, rest, err := j.ImageSignatures(t.Context(), c.filter)
		if d := cmp.Diff(c.want, ids(list)); d != "" || rest != 0 || err != nil {
			t.Errorf("%s: %s, %d more, %v", what, d, rest, err)
		}
	}
}

// testImageSignaturePages: pages hold each signature once, whatever is stored or
// deleted meanwhile.
func testImageSignaturePages(t *testing.T, j *journal.Journal) {
	names := []string{"b", "a", "C", "b", "B", "\u00e4", "b", "A-", "A"}
	for i, name := range names {
		s := ImageSignature(fmt.Sprint("s", i), "app")
		s.DisplayName = name
		storeSignature(t, j, s, journal.RetryToken{})
	}
	byTime := []string{"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"}
	byName := []string{"s8", "s7", "s4", "s2", "s1", "s0", "s3", "s6", "s5"}
	for _, c := range []struct {
		byName, descending bool
		want               []string
	}{{false, false, byTime}, {true, false, byName}, {false, true, reversed(byTime)}, {true, true, reversed(byName)}} {
		f := journal.ImageSignatureFilter{ByName: c.byName, Descending: c.descending, Limit: 2}
		var all []string
		for {
			page, rest, err := j.ImageSignatures(t.Context(), f)
			must(t, err)
			all = append(all, ids(page)...)
			if want := max(0, len(names)-len(all)); int(rest) != want {
				t.Errorf("%+v: %d more after %v, want %d", c, rest, all, want)
			}
			if len(page) < 2 {
				break
			}
			last := page[1].Place()
			f.After = &last
		}
		if d := cmp.Diff(c.want, all); d != "" {
			t.Errorf("by name %v, descending %v: %s", c.byName, c.descending, d)
		}
	}
	f := journal.ImageSignatureFilter{Descending: true, Limit: 2}
	page, _, err := j.ImageSignatures(t.Context(), f)
	must(t, err)
	last := page[1].Place()
	f.After = &last
	storeSignature(t, j, ImageSignature("new", "app"), journal.RetryToken{})
	must(t, j.DeleteImageSignature(t.Context(), page[1].ID, func(journal.ImageSignature) error { return nil }))
	page, rest, err := j.ImageSignatures(t.Context(), f)
	if d := cmp.Diff([]string{"s6", "s5"}, ids(page)); d != "" || rest != 5 || err != nil {
		t.Error(d, rest, err)
	}
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// testImageRepositories: an id that was handed out is known.
func testImageRepositories(t *testing.T, j *journal.Journal) {
	_, err := j.ImageRepository(t.Context(), "r1")
	wantError(t, err, journal.ErrNotFound)
	list := []journal.ImageRepository{{ID: "r2", Registry: "prod", Repository: "b"}, {ID: "r1", Registry: "prod", Repository: "a"}}
	for range 2 {
		must(t, j.KeepImageRepositories(t.Context(), list))
	}
	for i := range 1001 { // more than one write
		list = append(list, journal.ImageRepository{ID: fmt.Sprint("many", i), Registry: "prod", Repository: fmt.Sprint(i)})
	}
	must(t, j.KeepImageRepositories(t.Context(), list))
	for _, want := range list {
		if got, err := j.ImageRepository(t.Context(), want.ID); got != want || err != nil {
			t.Error(got, err)
		}
	}
}
