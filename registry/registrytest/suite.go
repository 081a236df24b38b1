package registrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
)

// A Query is the registry package's Query. The suite has types of its own,
// because the tests inside that package use it.
type Query struct {
	Repository string
	Tags       func(tag string) bool
	Untagged   bool
	After      string
}

// An Artifact is the registry package's Artifact.
type Artifact struct {
	Repository string
	MediaType  string
	Digest     v1.Hash
	Size       int64
	Unread     bool
	Tags       []string
	Cursor     string
}

// An Inventory is the part of a registry.Registry that the suite uses.
type Inventory interface {
	Repositories(ctx context.Context) iter.Seq2[string, error]
	Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error]
	Untagged() string
	PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error)
	PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error)
	Delete(ctx context.Context, repository string, digest v1.Hash) error
	// Sent returns how many requests were sent so far.
	Sent() int64
}

// A SuiteTarget is an empty registry with the Inventory that is tried on it. Its
// budget must not get in the way: many requests per second, several at once.
type SuiteTarget struct {
	Inventory Inventory
	// Server holds what is written, for the distribution API. Nil: no network.
	Server *Server
	// API is where listings are asked for. Nil: at Server.
	API *Server
	// Untagged is whether untagged artifacts can be seen here. If not, the
	// Inventory must say why.
	Untagged bool
	// Forgets is whether a manifest whose last tag is given to another one is not
	// listed any more, though it may be read.
	Forgets bool
	// HidesReferrers is whether manifests that refer to another one are not
	// listed, tagged or not.
	HidesReferrers bool
	// NoMediaTypes is whether the listing says only that something is no index.
	NoMediaTypes bool
	// PageSize is how many entries a page of the listing has. 0: no page.
	PageSize int
	// Usual is an Inventory of the same registry that asks for pages as large as
	// they are outside of tests, of UsualPage entries. Nil: Inventory.
	Usual     Inventory
	UsualPage int
	// Many is how many tags the largest repository of the suite has. 0: 10,000.
	Many int
	// PerArtifact is how many requests each tagged artifact costs beyond the
	// pages of the listing.
	PerArtifact int
	// Prefix stands before the name of every repository.
	Prefix string
	// Create makes a repository before anything is written to it. Nil: writing
	// makes it.
	Create func(t *testing.T, repository string)
	// Fill makes a repository with n tags. Nil: each is a manifest of its own,
	// written to Server.
	Fill func(t *testing.T, n int) Filled
	// Concerns reports whether a request that API gets asks for the listing of
	// that repository. Nil: its path, query or body contains the name.
	Concerns func(r *http.Request, repository string) bool
	// Refuse answers as the vendor does where permission is missing. Nil: 403, as
	// the distribution API has it.
	Refuse http.HandlerFunc
	// Throttle answers as the vendor does when it is asked too much, and that it
	// be asked again after a second. Nil: 429 with Retry-After.
	Throttle http.HandlerFunc
	// NotFound and Forbidden are the registry package's errors.
	NotFound, Forbidden error
}

// Filled is a repository with the digests that its tags name.
type Filled struct {
	Repository string
	Tags       map[string]string
}

// Suite checks that the inventories that open returns keep the contract of
// registry.Inventory. open is called once for each check, with that check's t,
// and starts with an empty registry each time. No other test may run at the same
// time, as goroutines that are left are looked for.
func Suite(t *testing.T, open func(t *testing.T) *SuiteTarget) {
	t.Helper()
	for _, check := range []struct {
		name string
		run  func(t *testing.T, target *SuiteTarget)
	}{
		{"repositories", checkRepositories},
		{"artifacts", checkArtifacts},
		{"one tag", checkOneTag},
		{"nothing wanted", checkNothingWanted},
		{"missing repository", checkMissing},
		{"many tags", checkMany},
		{"continued", checkContinued},
		{"continued after deletions", checkContinuedAfterDeletions},
		{"deleted behind", checkDeletedBehind},
		{"deleted ahead", checkDeletedAhead},
		{"pushed and deleted", checkChurn},
		{"forbidden", checkForbidden},
		{"throttled", checkThrottled},
		{"cancelled", checkCancelled},
		{"cancelled while asking", checkHanging},
		{"stopped", checkStopped},
	} {
		t.Run(check.name, func(t *testing.T) {
			var before goleak.Option
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the last, when all servers have gone
			target := open(t)
			before = goleak.IgnoreCurrent()
			for _, inventory := range []Inventory{target.Inventory, target.Usual} {
				if closer, ok := inventory.(io.Closer); ok {
					t.Cleanup(func() { _ = closer.Close() })
				}
			}
			check.run(t, target.complete())
		})
	}
}

func (target *SuiteTarget) complete() *SuiteTarget {
	if target.API == nil {
		target.API = target.Server
	}
	if target.Usual == nil {
		target.Usual, target.UsualPage = target.Inventory, target.PageSize
	}
	if target.Many == 0 {
		target.Many = 10_000
	}
	if target.Create == nil {
		target.Create = func(*testing.T, string) {}
	}
	if target.Fill == nil {
		target.Fill = target.fill
	}
	if target.Concerns == nil {
		target.Concerns = mentions
	}
	if target.Refuse == nil {
		target.Refuse = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
		}
	}
	if target.Throttle == nil {
		target.Throttle = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	return target
}

// mentions reports whether a request for a listing contains the name, which may
// be escaped, even twice.
func mentions(r *http.Request, repository string) bool {
	if _, kind, _ := split(r.URL.Path); kind == "manifests" || kind == "blobs" {
		return false
	}
	text := r.URL.RequestURI() + " " + body(r)
	for range 2 {
		if plain, err := url.QueryUnescape(text); err == nil {
			text = plain
		}
	}
	return strings.Contains(text, repository)
}

// always wants every tag.
func always(string) bool { return true }

// all asks for everything in a repository.
func all(repository string) Query { return Query{Repository: repository, Tags: always, Untagged: true} }

// collect returns what q yields. Any error is fatal.
func (target *SuiteTarget) collect(t *testing.T, q Query) (list []Artifact) {
	t.Helper()
	return collect(t, target.Inventory, q)
}

func collect(t *testing.T, inventory Inventory, q Query) (list []Artifact) {
	t.Helper()
	for a, err := range inventory.Artifacts(t.Context(), q) {
		if err != nil {
			t.Fatalf("listing %s: %+v: %v", q.Repository, a, err)
		}
		check(t, q.Repository, a)
		list = append(list, a)
	}
	return list
}

var signatureTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.(sig|att|sbom))?$`)

// check looks at what must be true of every artifact.
func check(t *testing.T, repository string, a Artifact) {
	t.Helper()
	if a.Repository != repository || a.Digest == (v1.Hash{}) || a.Cursor == "" || a.Size < 0 {
		t.Errorf("artifact of %s is not whole: %+v", repository, a)
	}
	if slices.ContainsFunc(a.Tags, signatureTag.MatchString) {
		t.Errorf("a signature's tag was yielded: %+v", a)
	}
}

// names returns what a list names, as "TAG DIGEST" and "- DIGEST" for untagged
// artifacts: however many times it does.
func names(list []Artifact) map[string]bool {
	set := map[string]bool{}
	for _, a := range list {
		for _, tag := range a.Tags {
			set[tag+" "+a.Digest.String()] = true
		}
		if len(a.Tags) == 0 {
			set["- "+a.Digest.String()] = true
		}
	}
	return set
}

// without returns a without the artifacts that b has too.
func without(a, b map[string]bool) (list []string) {
	for name := range a {
		if !b[name] {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// same compares two sets of names.
func same(t *testing.T, got, want map[string]bool, what string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// checkRepositories: each repository once, names with slashes among them, on
// several pages.
func checkRepositories(t *testing.T, target *SuiteTarget) {
	want := map[string]bool{}
	w := newWriter(t, target)
	for _, name := range []string{
		"team/app", "team/deep/er/app", "other/a.b_c-d__e", "other/app", "third/x1", "third/x2", "third/x3", "third/x4",
	} {
		w.image(target.Prefix+name, "v1", name)
		want[target.Prefix+name] = true
	}
	got := map[string]bool{}
	for repository, err := range target.Inventory.Repositories(t.Context()) {
		if err != nil {
			t.Fatalf("listing repositories: %q: %v", repository, err)
		}
		if got[repository] {
			t.Errorf("%s was listed twice", repository)
		}
		got[repository] = true
	}
	same(t, got, want, "repositories")
	for repository := range want {
		if list := target.collect(t, all(repository)); len(list) != 1 {
			t.Errorf("%s: %d artifacts, want 1", repository, len(list))
		}
	}
}

// checkArtifacts: everything an inventory must tell apart.
func checkArtifacts(t *testing.T, target *SuiteTarget) {
	e := populate(t, target, target.Prefix+"team/app")
	if said := target.Inventory.Untagged(); target.Untagged != (said == "") {
		t.Errorf("Untagged() is %q; can they be seen: %t", said, target.Untagged)
	}
	want := map[string]bool{}
	for name := range e.wanted(target) {
		want[name] = true
	}
	list := target.collect(t, all(e.repository))
	same(t, names(list), want, "artifacts")
	for _, a := range list {
		wrote := e.wrote[a.Digest]
		unsaid := a.MediaType == "" && (a.Unread || target.NoMediaTypes && wrote.mediaType != mediaIndex)
		if a.MediaType != wrote.mediaType && !unsaid || a.Size != 0 && a.Size != wrote.size {
			t.Errorf("%s of %d bytes, want %s of %d: %s %v", a.MediaType, a.Size, wrote.mediaType, wrote.size, a.Digest, a.Tags)
		}
	}
	tagged := target.collect(t, Query{Repository: e.repository, Tags: always})
	same(t, names(tagged), e.tagged, "tagged artifacts alone")
	if target.Untagged {
		untagged := target.collect(t, Query{Repository: e.repository, Untagged: true})
		same(t, names(untagged), e.unnamed(target), "untagged artifacts alone")
	}
}

// checkOneTag: other tags are not yielded, not even beside a wanted one.
func checkOneTag(t *testing.T, target *SuiteTarget) {
	e := populate(t, target, target.Prefix+"team/app")
	for name := range e.tagged {
		tag, _, _ := strings.Cut(name, " ")
		list := target.collect(t, Query{Repository: e.repository, Tags: func(s string) bool { return s == tag }})
		same(t, names(list), map[string]bool{name: true}, "one tag")
	}
}

// checkNothingWanted: no tag and no untagged artifact is asked for.
func checkNothingWanted(t *testing.T, target *SuiteTarget) {
	e := populate(t, target, target.Prefix+"team/app")
	if list := target.collect(t, Query{Repository: e.repository}); len(list) != 0 {
		t.Errorf("nothing was wanted, got %v", list)
	}
	if list := target.collect(t, Query{Repository: e.repository, Tags: func(string) bool { return false }}); len(list) != 0 {
		t.Errorf("no tag was wanted, got %v", list)
	}
}

// checkMissing: a repository that is not there is one error that says so.
func checkMissing(t *testing.T, target *SuiteTarget) {
	newWriter(t, target).image(target.Prefix+"team/app", "v1", "a")
	err := target.onlyError(t, t.Context(), target.Prefix+"team/missing")
	if !errors.Is(err, target.NotFound) {
		t.Errorf("a missing repository: %v", err)
	}
}

// onlyError returns the one error that listing a repository ends with.
func (target *SuiteTarget) onlyError(t *testing.T, ctx context.Context, repository string) error { //nolint:revive // t goes first in tests
	t.Helper()
	var end error
	for a, err := range target.Inventory.Artifacts(ctx, all(repository)) {
		if end != nil {
			t.Fatalf("something came after the error that ends (%v): %+v, %v", end, a, err)
		}
		if err != nil && a.Repository == "" {
			end = err
		}
	}
	if end == nil {
		t.Fatal("the listing ended without an error")
	}
	return end
}

// body returns a request's body, and leaves it to be read again.
func body(r *http.Request) string {
	if r.Body == nil {
		return ""
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(strings.NewReader(string(raw)))
	return string(raw)
}

// fill writes n manifests straight to the handler of Server.
func (target *SuiteTarget) fill(t *testing.T, n int) Filled {
	t.Helper()
	f := Filled{Repository: target.Prefix + "team/many", Tags: map[string]string{}}
	w := newWriter(t, target)
	w.target.Create(t, f.Repository)
	config, layer := w.blob(f.Repository, mediaConfig, `{}`), w.blob(f.Repository, mediaLayer, "layer")
	for i := range n {
		tag := fmt.Sprintf("t%05d", i)
		raw := encode(t, map[string]any{
			"schemaVersion": 2, "mediaType": mediaManifest, "config": config, "layers": []any{layer},
			"annotations": map[string]string{"n": tag},
		})
		f.Tags[tag] = target.Server.put(t, f.Repository, tag, raw)
	}
	return f
}
