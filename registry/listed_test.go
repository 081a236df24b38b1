package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A fakeLister lists what it is told to. Its cursors are places in the list.
type fakeLister struct {
	list     []listedEntry
	end      error // after the list
	blind    string
	listings int
}

func (f *fakeLister) repositories(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("app", nil) }
}

func (f *fakeLister) untagged() string { return f.blind }

func (f *fakeLister) manifests(ctx context.Context, _, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		f.listings++
		from := 0
		if after != "" {
			_, _ = fmt.Sscanf(after, "place %d", &from)
		}
		for i := from; i < len(f.list) && ctx.Err() == nil; i++ {
			m := f.list[i].listedManifest
			if f.list[i].fault == nil {
				m.Cursor = fmt.Sprintf("place %d", i+1)
			}
			if !yield(m, f.list[i].fault) {
				return
			}
		}
		if f.end != nil {
			yield(listedManifest{}, f.end)
		}
	}
}

// overMemory returns a registry in memory that is listed by f.
func overMemory(t *testing.T, f manifestLister) *listed {
	t.Helper()
	return newListed(client(t, config(serve(t, inMemory()))), f)
}

// add lists a manifest with tags, and returns its entry to change it.
func (f *fakeLister) add(m Manifest, tags ...string) *listedEntry {
	d := m.Descriptor
	d.Size = 0 // as vendors seldom say it
	f.list = append(f.list, listedEntry{listedManifest: listedManifest{Descriptor: d, Tags: tags}})
	return &f.list[len(f.list)-1]
}

// outcomes lists what q yields: the tags or else the digest, and the error with
// the cursor that comes with it.
func outcomes(t *testing.T, i Inventory, q Query) (list []string) {
	t.Helper()
	for a, err := range i.Artifacts(t.Context(), q) {
		text := strings.Join(a.Tags, ",")
		if text == "" && a.Repository != "" {
			text = a.Digest.String()
		}
		for _, kind := range []error{ErrNotFound, ErrForbidden, ErrCorrupt, ErrUnsupported} {
			if errors.Is(err, kind) {
				text += ": " + kind.Error() + " " + a.Cursor
			}
		}
		list = append(list, text)
	}
	return list
}

func TestListedTagged(t *testing.T) {
	f := &fakeLister{blind: "no"}
	l := overMemory(t, f)
	a, b, c := pushImage(t, l, "app", "v1", "a"), pushImage(t, l, "app", "v2", "b"), pushImage(t, l, "app", "v3", "c")
	f.add(a, "v1", "v1.0", sigTag(b, ".sig"))
	f.add(b, "a tag", "v2")
	f.add(c, "v3").MediaType = ""
	f.add(Manifest{Descriptor: Descriptor{Digest: sum([]byte("gone"))}}, "gone")
	f.add(Manifest{Descriptor: Descriptor{Digest: v1.Hash{Algorithm: "invalid", Hex: "x"}}}, "bad").fault = ErrCorrupt
	f.add(a, sigTag(a, ""))
	f.add(b)
	sent := counts(l)
	q := Query{Repository: "app", Tags: always, Untagged: true}
	want(t, outcomes(t, l, q), []string{
		"v1,v1.0", "a tag: " + ErrCorrupt.Error() + " place 2", "v2", "v3",
		"gone", "invalid:x: " + ErrCorrupt.Error() + " place 4",
	}, "artifacts")
	want(t, sent(), map[string]int64{}, "requests for tagged artifacts")
	for a, err := range l.Artifacts(t.Context(), q) {
		if unread := len(a.Tags) > 0 && (a.Tags[0] == "v3" || a.Tags[0] == "gone"); err == nil && a.Unread != unread {
			t.Errorf("%v: unread %t, want %t", a.Tags, a.Unread, unread)
		}
	}
	q.Tags = func(tag string) bool { return tag == "v1.0" }
	want(t, outcomes(t, l, q)[0], "v1.0", "one of two tags")
	want(t, sent(), map[string]int64{}, "requests for tags that are not wanted")
	q.Tags, q.After, f.end = always, "place 6", ErrForbidden
	want(t, outcomes(t, l, q), []string{": not permitted "}, "a listing that breaks off")
}

// Tagged and untagged artifacts are told apart in one pass over the listing.
func TestListedInOnePass(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	child, lost := pushImage(t, l, "app", "", "child"), pushImage(t, l, "app", "", "lost")
	f.add(child).ArtifactType = "application/x"
	f.add(pushIndex(t, l, "app", "v1", child), "v1")
	f.add(lost)
	want(t, outcomes(t, l, Query{Repository: "app", Tags: always, Untagged: true}), []string{"v1", lost.Digest.String()}, "artifacts")
	want(t, f.listings, 1, "listings")
}

// A someTags lister knows one tag of each manifest.
type someTags struct{ *fakeLister }

func (someTags) resolvesTags() bool { return true }

// Tags that the listing tells cost no request; the others are resolved, and so
// is one that two entries claim.
func TestListedSomeTags(t *testing.T) {
	f := someTags{&fakeLister{}}
	l := overMemory(t, f)
	a, b := pushImage(t, l, "app", "v1", "a"), pushImage(t, l, "app", "v2", "b")
	pushImage(t, l, "app", "latest", "b")
	pushImage(t, l, "app", "moved", "b")
	f.add(a, "v1")
	f.add(b, "v2")
	f.add(a, "moved")
	f.add(b, "moved")
	sent := counts(l)
	got := map[string]string{}
	for artifact, err := range l.Artifacts(t.Context(), Query{Repository: "app", Tags: always, Untagged: true}) {
		wants(t, err, nil, "artifact")
		got[strings.Join(artifact.Tags, ",")] = artifact.Digest.String()
	}
	want(t, got, map[string]string{"v1": a.Digest.String(), "v2": b.Digest.String(), "latest": b.Digest.String(), "moved": b.Digest.String()}, "artifacts")
	want(t, sent(), map[string]int64{"GET 200": 1, "HEAD 200": 2}, "requests: the tags, and two that are not told")
	f.end = ErrForbidden
	want(t, outcomes(t, l, Query{Repository: "app", Tags: always}), []string{": not permitted "}, "a listing that breaks off")
}

// A listing that ends without a word because its context did is not taken for a
// whole one.
func TestListedCancelled(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	for i := range 3 {
		f.add(pushImage(t, l, "app", "", fmt.Sprint(i)), fmt.Sprint("v", i)).MediaType = ""
	}
	for _, q := range []Query{{Repository: "app", Tags: always}, {Repository: "app", Untagged: true}} {
		for n := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			if q.Tags == nil {
				cancel()
			}
			var errs []error
			for a, err := range l.Artifacts(ctx, q) {
				if err != nil {
					want(t, a, Artifact{}, "artifact of the error that ends")
					errs = append(errs, err)
				}
				if strings.HasSuffix(a.Cursor, fmt.Sprint(n+1)) {
					cancel()
				}
			}
			cancel()
			if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
				t.Errorf("cancelled after %d: %v", n, errs)
			}
		}
	}
}

// What the listing says need not be asked for.
func TestListedUntaggedRequests(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	tagged, lost := pushImage(t, l, "app", "v1", "tagged"), pushImage(t, l, "app", "", "lost")
	chart, child := pushImage(t, l, "app", "", "chart"), pushImage(t, l, "app", "", "child")
	multi := pushIndex(t, l, "app", "multi", child)
	signature := pushManifest(t, l, "app", "", map[string]any{"artifactType": notationSignature}, ociConfig, ociLayer, "signature")
	old := pushManifest(t, l, "app", "", map[string]any{}, ociConfig, simpleSigning, "old cosign")
	f.add(tagged, "v1")
	f.add(lost)
	f.add(chart).ArtifactType = "application/vnd.cncf.helm.config.v1+json"
	f.add(child)
	f.add(multi, "multi").Children = []v1.Hash{child.Digest}
	f.add(signature).ArtifactType = notationSignature
	f.add(old).ArtifactType = ociConfig // of the config: says nothing
	sent := counts(l)
	q := Query{Repository: "app", Untagged: true}
	expected := []string{lost.Digest.String(), chart.Digest.String()}
	slices.Sort(expected)
	want(t, outcomes(t, l, q), expected, "untagged artifacts")
	want(t, sent(), map[string]int64{"GET 200": 2}, "requests: for those that may be signatures")
	f.list[4].Children = nil
	want(t, outcomes(t, l, q), expected, "untagged artifacts when children are not listed")
	want(t, sent(), map[string]int64{}, "requests: what was read or said before is remembered")
	f.list[6].Tags = []string{"v9"} // in another entry
	f.add(lost, "late")
	want(t, outcomes(t, l, q), []string{chart.Digest.String()}, "one entry says the digest, another a tag")
	f.blind = "it does not say"
	want(t, outcomes(t, l, q), nil, "of a registry that shows none")
	want(t, l.Untagged(), f.blind, "why")
}

// A fallback index does not make an SBOM part of itself, though the listing calls
// that its child, and is no artifact when its tag has moved on.
func TestListedFallbackIndex(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	image := pushImage(t, l, "app", "v1", "image")
	sbom := pushManifest(t, l, "app", "", map[string]any{"artifactType": "application/spdx+json"}, ociConfig, ociLayer, "sbom")
	entries := []any{wire(entry{MediaType: ociManifest, Digest: sbom.Digest.String(), Size: sbom.Size, ArtifactType: "application/spdx+json"})}
	fields := map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries}
	before := put(t, l, "app", "", ociIndex, encode(t, fields))
	fields["annotations"] = map[string]string{"n": "2"}
	now := put(t, l, "app", sigTag(image, ""), ociIndex, encode(t, fields))
	f.add(image, "v1")
	f.add(sbom).ArtifactType = "application/spdx+json"
	f.add(before).Children = []v1.Hash{sbom.Digest}
	f.add(now, sigTag(image, "")).Children = []v1.Hash{sbom.Digest}
	want(t, outcomes(t, l, Query{Repository: "app", Tags: always, Untagged: true}), []string{"v1", sbom.Digest.String()}, "artifacts")
}

// An index that cannot be read for now must not make its children artifacts; one
// that can never be read names nothing.
func TestListedUnreadableIndex(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   func(index, child Manifest) []string
	}{
		"forbidden": {http.StatusForbidden, "", func(_, _ Manifest) []string { return []string{": not permitted "} }},
		"gone":      {http.StatusNotFound, "", func(_, child Manifest) []string { return []string{child.Digest.String()} }},
		"corrupt": {http.StatusOK, "{}", func(index, child Manifest) []string {
			list := []string{index.Digest.String() + ": " + ErrCorrupt.Error() + " @" + index.Digest.String(), child.Digest.String()}
			slices.Sort(list)
			return list
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeLister{}
			inner := inMemory()
			writer := client(t, config(serve(t, inner)))
			child := pushImage(t, writer, "app", "", "child")
			index := pushIndex(t, writer, "app", "", child)
			f.add(child).ArtifactType = "application/x"
			f.add(index)
			l := newListed(client(t, config(serve(t, instead(inner, 1<<30, func(r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, index.Digest.String())
			}, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			})))), f)
			want(t, outcomes(t, l, Query{Repository: "app", Untagged: true}), test.want(index, child), "untagged artifacts")
		})
	}
}

// A digest of another algorithm fits no set; it is an error of its own.
func TestListedOtherDigests(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	lost := pushImage(t, l, "app", "", "lost")
	long := v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("ab", 64)}
	f.add(Manifest{Descriptor: Descriptor{MediaType: ociManifest, Digest: long}})
	f.add(Manifest{Descriptor: Descriptor{MediaType: ociManifest, Digest: long}}, "v1").ArtifactType = "application/x"
	f.add(lost)
	want(t, outcomes(t, l, Query{Repository: "app", Tags: always, Untagged: true}), []string{
		"v1", long.String() + ": " + ErrUnsupported.Error() + " ", lost.Digest.String(),
	}, "artifacts")
	for range l.Artifacts(t.Context(), Query{Repository: "app", Untagged: true}) {
		break // at the error
	}
}

// A listing of untagged artifacts that goes on does not list again, unless much
// time has passed.
func TestListedGoesOn(t *testing.T) {
	f := &fakeLister{}
	l := overMemory(t, f)
	now := time.Now()
	l.scans.now = func() time.Time { return now }
	for i := range 6 {
		f.add(pushImage(t, l, "app", "", fmt.Sprint(i)))
	}
	q := Query{Repository: "app", Untagged: true}
	all := artifacts(t, l, q)
	want(t, len(all), 6, "artifacts")
	f.listings = 0
	want(t, inSlices(t, l, q, 1), all, "in slices of one")
	want(t, f.listings, 1, "listings")
	for range l.Artifacts(t.Context(), q) {
		break
	}
	f.listings, q.After = 0, all[2].Cursor
	want(t, artifacts(t, l, q), all[3:], "the rest")
	want(t, f.listings, 0, "listings of one that goes on")
	want(t, artifacts(t, l, q), all[3:], "the rest, once more")
	want(t, f.listings, 1, "listings of one that ended")
	for range l.Artifacts(t.Context(), q) {
		break
	}
	now, f.listings = now.Add(maxScanAge+time.Second), 0
	want(t, artifacts(t, l, q), all[3:], "the rest, much later")
	want(t, f.listings, 1, "listings of one that goes on much later")
}

func TestListedRepositories(t *testing.T) {
	l := overMemory(t, &fakeLister{})
	var got []string
	for repository, err := range l.Repositories(t.Context()) {
		wants(t, err, nil, repository)
		got = append(got, repository)
	}
	want(t, got, []string{"app"}, "repositories")
	if _, err := openListed(nil, Config{Name: "x", Host: "registry.example.com", Kind: "other"}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a kind that is not listed: %v", err)
	}
}
