package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"
)

func sigTag(m Manifest, suffix string) string { return "sha256-" + m.Digest.Hex + suffix }

func TestGenericArtifacts(t *testing.T) {
	for name, handler := range registries(t) {
		t.Run(name, func(t *testing.T) {
			cfg := config(serve(t, handler))
			cfg.PageSize = 3
			r := open(t, cfg)
			var all []Artifact
			for i := range 10 {
				tag := fmt.Sprintf("v%d", i)
				m := pushImage(t, r, "app", tag, fmt.Sprint(i%4)) // some share a digest
				all = append(all, Artifact{Repository: "app", Descriptor: m.Descriptor, Tags: []string{tag}, Cursor: tag})
				for _, suffix := range []string{".sig", ".att", ".sbom", ""} {
					pushImage(t, r, "app", sigTag(m, suffix), "sig")
				}
			}
			pushImage(t, r, "app", "", "untagged")
			sent := counts(r)
			want(t, artifacts(t, r, Query{Repository: "app", Tags: always, Untagged: true}), all, "all")
			want(t, sent()["HEAD 200"], 10, "HEADs: none for signatures")
			want(t, artifacts(t, r, Query{Repository: "app", Tags: func(tag string) bool { return tag == "v3" }}), all[3:4], "one tag")
			want(t, sent()["HEAD 200"], 1, "HEADs: none for others")
			want(t, artifacts(t, r, Query{Repository: "app", Tags: always, After: all[6].Cursor}), all[7:], "the rest")
			want(t, artifacts(t, r, Query{Repository: "app"}), nil, "nothing wanted")
			if r.Untagged() == "" {
				t.Error("a generic registry claims to see untagged artifacts")
			}
		})
	}
}

func TestGenericArtifactFailuresAreTheirOwn(t *testing.T) {
	c := inMemory()
	host := serve(t, instead(c, 1<<30, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/manifests/b") }, status(403)))
	r := open(t, config(host))
	for _, tag := range []string{"a", "c"} {
		pushImage(t, r, "app", tag, tag)
	}
	direct := open(t, config(serve(t, c)))
	pushImage(t, direct, "app", "b", "b")
	got := map[string]string{}
	for a, err := range r.Artifacts(t.Context(), Query{Repository: "app", Tags: always}) {
		if err != nil {
			wants(t, err, ErrForbidden, a.Tags[0])
		}
		got[a.Tags[0]] = a.Cursor
	}
	want(t, got, map[string]string{"a": "a", "b": "b", "c": "c"}, "tags and their cursors")

	n := 0
	for a, err := range r.Artifacts(t.Context(), Query{Repository: "missing", Tags: always}) {
		wants(t, err, ErrNotFound, "missing repository")
		want(t, a, Artifact{}, "artifact of the error that ends")
		n++
	}
	want(t, n, 1, "errors")
}

func TestGenericArtifactsAreBoundedAndEnd(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	var under, most atomic.Int64
	inner := inMemory()
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			if strings.HasSuffix(r.URL.Path, "/v20") {
				<-r.Context().Done() // is under way for as long as the client wants
				return
			}
			now := under.Add(1)
			defer under.Add(-1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				continue
			}
		}
		inner.ServeHTTP(w, r)
	}))
	cfg := config(host)
	cfg.Limits.Concurrency = 3
	r := open(t, cfg)
	for i := range 30 {
		pushImage(t, r, "app", fmt.Sprintf("v%02d", i), "same")
	}
	n := 0
	for _, err := range r.Artifacts(t.Context(), Query{Repository: "app", Tags: always}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 20 {
			break // workers must end
		}
	}
	want(t, r.(*generic).transport.budget.Free(), 3, "free places once the loop has ended: no worker is left")
	if most.Load() > 3 {
		t.Errorf("%d HEADs at once", most.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs []error
	for _, err := range r.Artifacts(ctx, Query{Repository: "app", Tags: always}) {
		if err != nil {
			errs = append(errs, err)
		}
		cancel()
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("cancelled: %v", errs)
	}
	closeAll(r)
}

func closeAll(r Registry) {
	if closer, ok := r.(interface{ Close() error }); ok {
		_ = closer.Close()
	}
}

// One place in the budget must be enough for a listing whose every name needs
// more requests.
func TestGenericWithOnePlace(t *testing.T) {
	cfg := config(serve(t, inDirectory(t, t.TempDir())))
	cfg.Limits.Concurrency, cfg.PageSize = 1, 2
	r := open(t, cfg)
	for i := range 5 {
		pushImage(t, r, fmt.Sprintf("team/app%d", i), "v1", "a")
	}
	n := 0
	for repository, err := range r.Repositories(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(artifacts(t, r, Query{Repository: repository, Tags: always}))
	}
	want(t, n, 5, "artifacts")
}

// populate writes what an inventory must tell apart, and returns the untagged
// artifacts it must yield.
func populate(t *testing.T, s Store) []v1.Hash {
	t.Helper()
	const repository = "team/app"
	manifest := func() map[string]any { return map[string]any{"schemaVersion": 2, "mediaType": ociManifest} }
	with := func(key string, value any) map[string]any {
		m := manifest()
		m[key] = value
		return m
	}
	tagged := pushImage(t, s, repository, "v1", "tagged")
	child1, child2 := pushImage(t, s, repository, "", "child 1"), pushImage(t, s, repository, "", "child 2")
	pushIndex(t, s, repository, "multi", child1)
	superseded := pushImage(t, s, repository, "moving", "old")
	pushImage(t, s, repository, "moving", "new")
	lost := pushImage(t, s, repository, "", "lost")
	index := pushIndex(t, s, repository, "", child2)
	sbom := pushManifest(t, s, repository, "", with("artifactType", "application/spdx+json"), ociConfig, "text/spdx", "sbom")

	subject := wire(entry{MediaType: tagged.MediaType, Digest: tagged.Digest.String(), Size: tagged.Size})
	notation := with("subject", subject)
	notation["artifactType"] = notationSignature
	signature := pushManifest(t, s, repository, "", notation, "application/vnd.oci.empty.v1+json", "application/jose+json", "notation")
	pushManifest(t, s, repository, "", manifest(), notationSignature, "application/cose", "old notation")
	pushManifest(t, s, repository, "", with("artifactType", "application/vnd.dev.sigstore.bundle.v0.3+json"), ociConfig, ociLayer, "bundle")
	pushManifest(t, s, repository, "", with("artifactType", "application/vnd.dev.cosign.artifact.sig.v1+json"), ociConfig, simpleSigning, "cosign oci 1.1")
	pushManifest(t, s, repository, sigTag(tagged, ".sig"), manifest(), ociConfig, simpleSigning, "old cosign")
	pushManifest(t, s, repository, sigTag(tagged, ".sig"), manifest(), ociConfig, simpleSigning, "new cosign")
	pushManifest(t, s, repository, sigTag(tagged, ".att"), manifest(), ociConfig, dsseEnvelope, "old attestation")
	pushManifest(t, s, repository, sigTag(tagged, ".att"), manifest(), ociConfig, dsseEnvelope, "new attestation")
	for i := range 2 { // a fallback index that grew
		entries := []any{wire(entry{MediaType: ociManifest, Digest: signature.Digest.String(), Size: signature.Size, ArtifactType: notationSignature})}
		if i == 1 {
			entries = append(entries, wire(entry{MediaType: ociManifest, Digest: sbom.Digest.String(), Size: sbom.Size, ArtifactType: "application/spdx+json"}))
		}
		put(t, s, repository, sigTag(tagged, ""), ociIndex, encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries}))
	}
	return sortedDigests([]Artifact{
		{Descriptor: superseded.Descriptor}, {Descriptor: lost.Descriptor}, {Descriptor: index.Descriptor}, {Descriptor: sbom.Descriptor},
	})
}

func sortedDigests(list []Artifact) []v1.Hash {
	digests := make([]v1.Hash, 0, len(list))
	for _, a := range list {
		digests = append(digests, a.Digest)
	}
	slices.SortFunc(digests, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	return digests
}

func split(list []Artifact) (tags []string, untagged []Artifact) {
	for _, a := range list {
		if len(a.Tags) == 0 {
			untagged = append(untagged, a)
		}
		tags = append(tags, a.Tags...)
	}
	return tags, untagged
}

func distributionOver(t *testing.T, dir string) Registry {
	t.Helper()
	cfg := config(serve(t, inDirectory(t, dir)))
	cfg.Kind, cfg.Storage = KindDistribution, dir
	return open(t, cfg)
}

func TestDistributionArtifacts(t *testing.T) {
	dir := t.TempDir()
	r := distributionOver(t, dir)
	want(t, r.Untagged(), "", "untagged artifacts can be seen")
	expected := populate(t, r)
	sent := counts(r)
	all := artifacts(t, r, Query{Repository: "team/app", Tags: always, Untagged: true})
	tags, untagged := split(all)
	want(t, tags, []string{"moving", "multi", "v1"}, "tags")
	want(t, sortedDigests(untagged), expected, "untagged")
	want(t, sent(), map[string]int64{"GET 200": 1, "HEAD 200": 3}, "requests: none for untagged artifacts")
	for _, a := range untagged {
		d, err := r.Resolve(t.Context(), "team/app", a.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		want(t, a.Descriptor, d, "descriptor is the registry's")
	}
	for i, a := range all { // every cursor continues
		rest := artifacts(t, r, Query{Repository: "team/app", Tags: always, Untagged: true, After: a.Cursor})
		if diff := cmp.Diff(all[i+1:], rest); diff != "" && len(rest)+len(all[i+1:]) > 0 {
			t.Errorf("after %s: %s", a.Cursor, diff)
		}
	}
	_, untagged = split(artifacts(t, r, Query{Repository: "team/app", Tags: always}))
	want(t, len(untagged), 0, "untagged artifacts that were not asked for")
	tags, _ = split(artifacts(t, r, Query{Repository: "team/app", Untagged: true}))
	want(t, len(tags), 0, "tagged artifacts that were not asked for")
}

func TestDistributionDeletedManifestsAreGone(t *testing.T) {
	dir := t.TempDir()
	r := distributionOver(t, dir)
	m := pushImage(t, r, "app", "", "a")
	kept := pushImage(t, r, "app", "", "b")
	want(t, len(artifacts(t, r, Query{Repository: "app", Tags: always, Untagged: true})), 2, "artifacts of a repository without any tag")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+r.Host()+"/v2/app/manifests/"+m.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	discard(resp)
	got := artifacts(t, r, Query{Repository: "app", Tags: always, Untagged: true})
	want(t, sortedDigests(got), []v1.Hash{kept.Digest}, "after a deletion")
}

func TestDistributionWithoutStorageSaysSo(t *testing.T) {
	cfg := config(serve(t, inDirectory(t, t.TempDir())))
	cfg.Kind = KindDistribution
	r := open(t, cfg)
	pushImage(t, r, "app", "v1", "a")
	pushImage(t, r, "app", "", "b")
	if !strings.Contains(r.Untagged(), "storage") {
		t.Errorf("untagged: %q", r.Untagged())
	}
	want(t, len(artifacts(t, r, Query{Repository: "app", Tags: always, Untagged: true})), 1, "artifacts")
}

func TestDistributionBrokenStorage(t *testing.T) {
	dir := t.TempDir()
	r := distributionOver(t, dir)
	corrupt, huge, escaping := pushImage(t, r, "app", "", "a"), pushImage(t, r, "app", "", "b"), pushImage(t, r, "app", "", "c")
	gone, good := pushImage(t, r, "app", "", "d"), pushImage(t, r, "app", "", "e")
	data := func(m Manifest) string {
		return filepath.Join(dir, "docker/registry/v2/blobs/sha256", m.Digest.Hex[:2], m.Digest.Hex, "data")
	}
	outside := filepath.Join(t.TempDir(), "outside")
	for _, err := range []error{
		os.WriteFile(data(corrupt), []byte(strings.Replace(string(corrupt.Raw), "layers", "LAYERS", 1)), 0o600),
		os.Truncate(data(huge), MaxManifest+1),
		os.WriteFile(outside, escaping.Raw, 0o600),
		os.Remove(data(escaping)),
		os.Symlink(outside, data(escaping)),
		os.Remove(data(gone)),
		os.MkdirAll(filepath.Join(dir, "docker/registry/v2/repositories/app/_manifests/revisions/sha256/nothing"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[v1.Hash]error{}
	for a, err := range r.Artifacts(t.Context(), Query{Repository: "app", Untagged: true}) {
		got[a.Digest] = err
	}
	want(t, len(got), 4, "artifacts")
	wants(t, got[corrupt.Digest], ErrCorrupt, "changed manifest")
	wants(t, got[huge.Digest], ErrTooLarge, "huge manifest")
	wants(t, got[escaping.Digest], ErrUnavailable, "symlink out of the storage")
	wants(t, got[good.Digest], nil, "good manifest")

	for _, err := range r.Artifacts(t.Context(), Query{Repository: "../../../etc", Untagged: true}) {
		wants(t, err, ErrCorrupt, "repository with a path for a name")
	}
	for _, err := range r.Artifacts(t.Context(), Query{Repository: "missing", Untagged: true}) {
		wants(t, err, ErrNotFound, "missing repository")
	}
}

// newLayout makes an empty layout.
func newLayout(t *testing.T, dir string) {
	t.Helper()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600),
		os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[],"annotations":{"kept":"yes"}}`), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func layoutOver(t *testing.T, dir string) Registry {
	t.Helper()
	return open(t, Config{Name: "local", Host: "oci-layout:" + dir, Kind: KindOCILayout})
}

func TestLayoutStore(t *testing.T) {
	dir := t.TempDir()
	newLayout(t, filepath.Join(dir, "team", "app"))
	r := layoutOver(t, dir)
	roundTrip(t, r, "team/app")
	want(t, r.Host(), "local", "host")
	want(t, r.Requests().Total(), 0, "requests")
	index, err := os.ReadFile(filepath.Join(dir, "team", "app", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(index), `"kept":"yes"`) {
		t.Errorf("the index lost its annotations: %s", index)
	}
	left, err := filepath.Glob(filepath.Join(dir, "team", "app", "blobs", "sha256", ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc")); err == nil {
		t.Error("something was written outside")
	}
}

func TestLayoutRepositories(t *testing.T) {
	dir := t.TempDir()
	for _, repository := range []string{"a", "a/b", "deep/er/c", "Bad", ".hidden/x"} {
		newLayout(t, filepath.Join(dir, repository))
	}
	newLayout(t, filepath.Join(dir, "a", "blobs", "trap"))
	outside := t.TempDir()
	newLayout(t, outside)
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for repository, err := range layoutOver(t, dir).Repositories(t.Context()) {
		got[repository] = err == nil
	}
	want(t, got, map[string]bool{"a": true, "a/b": true, "deep/er/c": true, "Bad": false, ".hidden/x": false}, "repositories")
	for range layoutOver(t, dir).Repositories(t.Context()) {
		break
	}
	for name, expected := range map[string]string{"My App (1)": "my-app-1", "app": "app", "___": "layout"} {
		single := filepath.Join(t.TempDir(), name)
		newLayout(t, single)
		r := layoutOver(t, single)
		for repository, err := range r.Repositories(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			want(t, repository, expected, "name of a single layout")
			pushImage(t, r, repository, "v1", "a")
		}
		_, err := r.Resolve(t.Context(), "other", "v1")
		wants(t, err, ErrNotFound, "another repository")
	}
}

func TestLayoutArtifacts(t *testing.T) {
	dir := t.TempDir()
	newLayout(t, filepath.Join(dir, "team", "app"))
	r := layoutOver(t, dir)
	want(t, r.Untagged(), "", "untagged artifacts can be seen")
	expected := populate(t, r)
	// What loses its tag leaves the index. zot keeps it there, without one.
	file := filepath.Join(dir, "team", "app", "index.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	listed, kept := string(raw), expected[:0:0]
	for _, digest := range expected {
		if strings.Contains(listed, digest.String()) {
			kept = append(kept, digest)
		}
	}
	want(t, len(kept), len(expected)-1, "untagged artifacts in the index: all but the one that lost its tag")
	tags, untagged := split(artifacts(t, r, Query{Repository: "team/app", Tags: always, Untagged: true}))
	want(t, tags, []string{"v1", "multi", "moving"}, "tags")
	want(t, sortedDigests(untagged), kept, "untagged")
	tags, _ = split(artifacts(t, r, Query{Repository: "team/app", Tags: func(tag string) bool { return tag == "v1" }}))
	want(t, tags, []string{"v1"}, "one tag")
	for _, err := range r.Artifacts(t.Context(), Query{Repository: "missing", Tags: always}) {
		wants(t, err, ErrNotFound, "missing repository")
	}
}

func TestLayoutRefNames(t *testing.T) {
	tests := map[string]string{
		"v1":                          "v1",
		"reg.example/team/app:v1":     "v1",
		"reg.example:5000/app:v1":     "v1",
		"app:v1":                      "v1",
		"reg.example:5000/app":        "",
		"app:v1@sha256:0123":          "v1",
		"reg.example/app@sha256:0123": "",
		"":                            "",
	}
	for name, expected := range tests {
		tag, tagged := layoutDescriptor{Annotations: map[string]string{refAnnotation: name}}.tag()
		if tag != expected || tagged != (expected != "") {
			t.Errorf("%q: got %q, %t", name, tag, tagged)
		}
	}
}

func TestLayoutBadIndexes(t *testing.T) {
	digest := sum(nil).String()
	tests := map[string]struct {
		index string
		want  error
		ends  bool
	}{
		"no JSON":       {`<html>`, ErrCorrupt, true},
		"truncated":     {`{"manifests":[{"digest":"` + digest + `"`, ErrCorrupt, true},
		"no list":       {`{"manifests":{}}`, ErrCorrupt, true},
		"no descriptor": {`{"manifests":["x"]}`, ErrCorrupt, true},
		"bad digest":    {`{"manifests":[{"digest":"sha256:../../x","annotations":{"` + refAnnotation + `":"v1"}}]}`, ErrCorrupt, false},
		"bad tag":       {`{"manifests":[{"digest":"` + digest + `","annotations":{"` + refAnnotation + `":"a b"}}]}`, ErrCorrupt, false},
		"missing blob":  {`{"manifests":[]}`, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "app")
			newLayout(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(test.index), 0o600); err != nil {
				t.Fatal(err)
			}
			r := layoutOver(t, dir)
			var got error
			for a, err := range r.Artifacts(t.Context(), Query{Repository: "app", Tags: always, Untagged: true}) {
				got = err
				want(t, a.Repository == "", test.ends, "this ends it")
			}
			wants(t, got, test.want, "error")
			if test.ends {
				_, err := r.Resolve(t.Context(), "app", "v1")
				wants(t, err, ErrCorrupt, "resolving")
				_, err = r.PutManifest(t.Context(), "app", "v1", ociIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
				wants(t, err, ErrCorrupt, "writing")
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "app")
	newLayout(t, dir)
	if err := os.Truncate(filepath.Join(dir, "index.json"), maxLayoutIndex+1); err != nil {
		t.Fatal(err)
	}
	r := layoutOver(t, dir)
	_, err := r.PutManifest(t.Context(), "app", "v1", ociIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
	wants(t, err, ErrTooLarge, "writing to a huge index")
	_, err = r.Resolve(t.Context(), "app", "v1")
	wants(t, err, ErrTooLarge, "reading a huge index")
}

func TestLayoutCorruptBlobsAreSeenAndMended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app")
	newLayout(t, dir)
	r := layoutOver(t, dir)
	m := pushImage(t, r, "app", "v1", "a")
	file := filepath.Join(dir, "blobs", "sha256", m.Digest.Hex)
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.Manifest(t.Context(), "app", "v1")
	wants(t, err, ErrCorrupt, "corrupt manifest")
	put(t, r, "app", "v1", m.MediaType, m.Raw)
	_, err = r.Manifest(t.Context(), "app", "v1")
	wants(t, err, nil, "mended manifest")
}

// Writers that do not know of each other, as two processes would not, lose no
// entries.
func TestLayoutConcurrentWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app")
	newLayout(t, dir)
	var wg sync.WaitGroup
	const writers, each = 8, 10
	for w := range writers {
		r := layoutOver(t, dir)
		wg.Go(func() {
			for i := range each {
				raw := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[],"annotations":{"x":"%d-%d"}}`, w, i)
				for _, tag := range []string{fmt.Sprintf("w%d-%d", w, i), "latest"} {
					if _, err := r.PutManifest(t.Context(), "app", tag, ociIndex, raw); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	tags, _ := split(artifacts(t, layoutOver(t, dir), Query{Repository: "app", Tags: always}))
	slices.Sort(tags)
	want(t, len(tags), writers*each+1, "tags")
	want(t, len(slices.Compact(tags)), writers*each+1, "different tags")
}

func TestLayoutLockEndsWithTheContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app")
	newLayout(t, dir)
	f, err := os.Create(filepath.Join(dir, layoutLock))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only locked
	if err := lockFile(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	r := layoutOver(t, dir)
	go func() {
		_, err := r.PutManifest(ctx, "app", "v1", ociIndex, []byte(`{"schemaVersion":2,"manifests":[]}`))
		written <- err
	}()
	cancel()
	wants(t, <-written, context.Canceled, "writing while another holds the lock")
}

func TestWithDescriptor(t *testing.T) {
	d := func(digest, tag string) layoutDescriptor {
		d := layoutDescriptor{MediaType: ociManifest, Digest: digest}
		if tag != "" {
			d.Annotations = map[string]string{refAnnotation: tag}
		}
		return d
	}
	index := func(list ...layoutDescriptor) []byte {
		return encode(t, map[string]any{"schemaVersion": 2, "manifests": list})
	}
	tests := map[string]struct {
		have []byte
		add  layoutDescriptor
		want []byte
	}{
		"no file":           {nil, d("x", "v1"), index(d("x", "v1"))},
		"first":             {index(), d("x", "v1"), index(d("x", "v1"))},
		"another tag":       {index(d("x", "v1")), d("x", "v2"), index(d("x", "v1"), d("x", "v2"))},
		"moved tag":         {index(d("x", "v1"), d("y", "v2")), d("z", "v1"), index(d("y", "v2"), d("z", "v1"))},
		"full name":         {index(d("x", "reg.example/app:v1")), d("z", "v1"), index(d("z", "v1"))},
		"there":             {index(d("x", "v1")), d("x", "v1"), nil},
		"there twice":       {index(d("x", "v1"), d("y", "v1")), d("x", "v1"), index(d("x", "v1"))},
		"digest":            {index(d("x", "v1")), d("y", ""), index(d("x", "v1"), d("y", ""))},
		"digest is there":   {index(d("x", "v1")), d("x", ""), nil},
		"untagged is there": {index(d("x", "")), d("x", "v1"), index(d("x", ""), d("x", "v1"))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := withDescriptor(test.have, test.add)
			if err != nil {
				t.Fatal(err)
			}
			var g, w any
			if got != nil {
				if err := json.Unmarshal(got, &g); err != nil {
					t.Fatal(err)
				}
			}
			if test.want != nil {
				if err := json.Unmarshal(test.want, &w); err != nil {
					t.Fatal(err)
				}
			}
			want(t, g, w, "index")
		})
	}
}

func TestIsSignatureTag(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for tag, expected := range map[string]bool{
		"sha256-" + hex: true, "sha256-" + hex + ".sig": true, "sha256-" + hex + ".att": true, "sha256-" + hex + ".sbom": true,
		"sha256-" + hex + ".txt": false, "sha256-" + hex[1:]: false, "sha256-" + hex + "0": false,
		"v1": false, "xsha256-" + hex: false, "sha256-" + hex + ".sigx": false, "sha256-" + strings.ToUpper(hex): false, "": false,
		"sha256-" + hex + "\n": false,
	} {
		want(t, IsSignatureTag(tag), expected, tag)
	}
}

func TestIsSignature(t *testing.T) {
	for raw, expected := range map[string]bool{
		`{"config":{"mediaType":"` + ociConfig + `"},"layers":[{"mediaType":"` + ociLayer + `"}]}`: false,
		`{"config":{},"layers":[]}`: false,
		`{"layers":[{"mediaType":"` + simpleSigning + `"},{"mediaType":"` + simpleSigning + `"}]}`:                        true,
		`{"layers":[{"mediaType":"` + simpleSigning + `"},{"mediaType":"` + ociLayer + `"}]}`:                             false, // an image cannot hide behind one such layer
		`{"layers":[{"mediaType":"` + dsseEnvelope + `"}]}`:                                                               true,
		`{"config":{"mediaType":"` + notationSignature + `"},"layers":[]}`:                                                true,
		`{"artifactType":"` + notationSignature + `","layers":[]}`:                                                        true,
		`{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","layers":[]}`:                                    true,
		`{"artifactType":"application/spdx+json","config":{"mediaType":"application/vnd.oci.empty.v1+json"},"layers":[]}`: false,
		`{"manifests":[{"artifactType":"` + notationSignature + `"}]}`:                                                    true,
		`{"manifests":[{"artifactType":"` + notationSignature + `"},{"mediaType":"` + ociManifest + `"}]}`:                false,
		`{"manifests":[]}`: false,
		`nonsense`:         false,
	} {
		want(t, IsSignature(Manifest{Raw: []byte(raw)}), expected, raw)
	}
}
