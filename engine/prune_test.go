package engine_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

// prune prunes what the policies cover, with the rotation's journal if apply is
// set, and returns the findings in an order.
func (r *rotation) prune(apply bool, names ...string) (engine.PruneSum, []engine.PruneFinding) {
	r.t.Helper()
	j := r.journal
	if !apply {
		j = nil
	}
	var list []engine.PruneFinding
	sum, err := r.setup.Prune(r.t.Context(), names, j, func(f engine.PruneFinding) { list = append(list, f) })
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b engine.PruneFinding) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Digest, b.Digest),
			strings.Compare(a.Tag, b.Tag), strings.Compare(string(a.Format), string(b.Format)))
	})
	return sum, list
}

// sign adds a signature, whatever is there.
func sign(t *testing.T, st registry.Registry, k *countingSigner, f policy.Format, d v1.Hash) {
	t.Helper()
	desc, err := st.Resolve(t.Context(), "app", d.String())
	if err != nil {
		t.Fatal(err)
	}
	subject := signature.Subject{Repository: "app", Digest: d, MediaType: desc.MediaType, Size: desc.Size, Identity: st.Host() + "/app"}
	image := signature.NewLayouts(st).Image(subject, signature.Witnesses{})
	public := k.Public()
	key := signature.Key{Verifier: public, Algorithm: public.Algorithm(), PublicKey: public.DER(), Sign: k.Sign}
	made, err := image.Sign(t.Context(), f, key)
	if err != nil {
		t.Fatal(err)
	}
	if f != policy.FormatCosign {
		if _, err := image.Attach(t.Context(), f, signature.Look{}, made, key); err != nil {
			t.Fatal(err)
		}
		return
	}
	tag := signature.CosignTag(d)
	m, err := st.Manifest(t.Context(), "app", tag)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(m.Raw, &raw); err != nil {
		t.Fatal(err)
	}
	layers := raw["layers"].([]any)
	layer := map[string]any{}
	for name, value := range layers[0].(map[string]any) {
		layer[name] = value
	}
	layer["annotations"] = map[string]any{"dev.cosignproject.cosign/signature": made.Raw}
	raw["layers"] = append(layers, layer)
	encoded, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.PutManifest(t.Context(), "app", tag, m.MediaType, encoded); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, st registry.Registry, repository string, d v1.Hash) {
	t.Helper()
	if err := st.(registry.Deleter).Delete(t.Context(), repository, d); err != nil {
		t.Fatal(err)
	}
}

// TestPruneDuplicates: one signature of the policy's key stays in each format.
func TestPruneDuplicates(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 3)
	both := []policy.Format{policy.FormatCosign, policy.FormatBundle}
	r := rotate(t, s, both...)
	for _, p := range []string{"app", "late", "strangers"} {
		r.fire(p)
	}
	st := open(t, s, nil)
	for range 2 {
		sign(t, st, r.old, policy.FormatCosign, digests[0])
	}
	sign(t, st, r.old, policy.FormatBundle, digests[1])
	sign(t, st, r.next, policy.FormatBundle, digests[1])

	s.Reset()
	sum, list := r.prune(false, "app")
	if w := writes(s); len(w) > 0 {
		t.Errorf("the dry run wrote: %q", w)
	}
	want := []engine.PruneFinding{
		{Kind: engine.PruneDuplicate, Registry: "test", Repository: "app", Digest: digests[0].String(), Policy: "app", Format: policy.FormatCosign, Signatures: 2},
		{Kind: engine.PruneDuplicate, Registry: "test", Repository: "app", Digest: digests[1].String(), Policy: "app", Format: policy.FormatBundle, Signatures: 1},
	}
	slices.SortFunc(want, func(a, b engine.PruneFinding) int { return strings.Compare(a.Digest, b.Digest) })
	if diff := gocmp.Diff(want, list); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	wantSum := engine.PruneSum{Repositories: 1, Artifacts: 3, Duplicates: 3}
	if diff := gocmp.Diff(wantSum, sum); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}

	sum, list = r.prune(true, "app")
	for i := range want {
		want[i].Removed = true
	}
	wantSum.Applied, wantSum.Removed = true, 3
	if diff := gocmp.Diff(want, list) + gocmp.Diff(wantSum, sum); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	r.want("old", r.old, digests, once(both))
	r.want("stranger", r.stranger, digests, once(both))
	r.want("next, which was not asked for", r.next, digests[1:2], map[policy.Format]int{policy.FormatCosign: 1, policy.FormatBundle: 2})
	if sum, list = r.prune(true, "app"); len(list) > 0 || sum.Duplicates+sum.Removed > 0 {
		t.Errorf("again: %+v %+v", sum, list)
	}
	// With both policies, an artifact is counted once.
	if sum, _ = r.prune(false, "app", "late"); sum.Duplicates != 1 || sum.Artifacts != 3 || sum.Repositories != 1 {
		t.Errorf("with both policies: %+v", sum)
	}
}

// TestPruneOrphans: signatures of what is gone go if all of them are ours.
func TestPruneOrphans(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 6)
	both := []policy.Format{policy.FormatCosign, policy.FormatBundle}
	r := rotate(t, s, both...)
	r.fire("app")
	r.fire("late")
	st := open(t, s, nil)
	foreign := newKey(t)
	sign(t, st, foreign, policy.FormatCosign, digests[1])
	sign(t, st, foreign, policy.FormatBundle, digests[1])
	other := s.Push(t, "other:v1", registrytest.Image(t)) // in a repository that no policy covers
	s.Push(t, "app:sha256-"+strings.Repeat("0", 64), registrytest.Image(t))
	s.Push(t, "app:sha256-"+strings.Repeat("1", 64)+".sig", registrytest.Image(t))
	s.Push(t, "app:sha256-"+strings.Repeat("2", 64)+".att", registrytest.Image(t))
	copyTag(t, st, digests[2], other) // a signature of something else
	for _, d := range digests[:2] {
		remove(t, st, "app", d)
	}
	before := stored(t, st, digests[1:])

	s.Reset()
	sum, list := r.prune(false, "app")
	if w := writes(s); len(w) > 0 {
		t.Errorf("the dry run wrote: %q", w)
	}
	wantSum := engine.PruneSum{Repositories: 1, Artifacts: 4 + 1, Orphans: 4, NotOurs: 5}
	wantSum.Artifacts = 4 // the images under tags of signatures are none
	if diff := gocmp.Diff(wantSum, sum); diff != "" {
		t.Errorf("sum (-want +got):\n%s", diff)
	}
	ours := map[string]int{}
	for _, f := range list {
		switch {
		case f.Kind != engine.PruneOrphan || f.Repository != "app" || f.Removed:
			t.Errorf("found %+v", f)
		case f.Reason == "":
			ours[f.Tag] = f.Signatures
		case f.Reason != engine.PruneNotOurs || f.Detail == "":
			t.Errorf("found %+v", f)
		}
	}
	gone := []string{signature.CosignTag(digests[0]), registry.FallbackTag(digests[0])}
	if diff := gocmp.Diff(map[string]int{gone[0]: 2, gone[1]: 2}, ours); diff != "" {
		t.Errorf("ours (-want +got):\n%s", diff)
	}

	if sum, _ = r.prune(true, "app"); sum.Removed != 4 || sum.NotOurs != 5 || sum.Failed != 0 {
		t.Errorf("removed: %+v", sum)
	}
	for _, tag := range gone {
		if _, err := st.Resolve(t.Context(), "app", tag); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("%s: %v", tag, err)
		}
	}
	if diff := gocmp.Diff(before, stored(t, st, digests[1:])); diff != "" {
		t.Errorf("what is not ours, or of what is there (-want +got):\n%s", diff)
	}
	if sum, _ = r.prune(true, "app"); sum.Removed != 0 || sum.NotOurs != 5 {
		t.Errorf("again: %+v", sum)
	}
}

// copyTag puts the cosign signatures of one digest where those of another belong.
func copyTag(t *testing.T, st registry.Registry, from, to v1.Hash) {
	t.Helper()
	m, err := st.Manifest(t.Context(), "app", signature.CosignTag(from))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.PutManifest(t.Context(), "app", signature.CosignTag(to), m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
}

// TestPruneElsewhere: signatures that are kept for other repositories are no
// orphans of the one they are in.
func TestPruneElsewhere(t *testing.T) {
	s := registrytest.Distribution(t)
	digest := s.Push(t, "app:v1", registrytest.Image(t))
	s.Push(t, "signatures:v1", registrytest.Image(t))
	p := everything("all")
	p.Key, p.SignatureRepository = "old", "signatures"
	r := &rotation{old: newKey(t)}
	s.Intercept(immutable)
	r.house = withKeys(t, s, map[string]engine.Key{"old": {Signer: r.old}}, p)
	r.fire("all")
	s.Intercept(nil)
	if n := s.Signatures(t, "signatures", digest); n != 1 {
		t.Fatalf("%d signatures elsewhere, want 1", n)
	}
	sum, list := r.prune(true, "all")
	if sum.Removed != 0 || len(list) == 0 || s.Signatures(t, "signatures", digest) != 1 {
		t.Errorf("%+v %+v", sum, list)
	}
}

// immutable lets no signature tag of app be written.
func immutable(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut && strings.HasPrefix(q.URL.Path, "/v2/app/manifests/") && strings.HasSuffix(q.URL.Path, ".sig") {
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `{"errors":[{"code":"PRECONDITION","message":"configured as immutable"}]}`)
			return
		}
		inner.ServeHTTP(w, q)
	})
}

// TestPruneInDoubt: unless the registry says that an artifact is not there, its
// signatures are left alone.
func TestPruneInDoubt(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusUnauthorized, http.StatusBadRequest} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := registrytest.Distribution(t)
			digests := pushSome(t, s, 1)
			r := rotate(t, s)
			r.fire("app")
			remove(t, open(t, s, nil), "app", digests[0])
			s.Intercept(func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					if q.Method == http.MethodHead && strings.Contains(q.URL.Path, "/manifests/sha256:") {
						w.WriteHeader(status)
						return
					}
					inner.ServeHTTP(w, q)
				})
			})
			sum, list := r.prune(true, "app")
			if sum.Removed != 0 || sum.Orphans != 0 || sum.Failed != 1 || len(list) != 1 || list[0].Kind != engine.PruneUnread || list[0].Reason == "" {
				t.Errorf("%+v %+v", sum, list)
			}
			if n := s.Signatures(t, "app", digests[0]); n != 1 {
				t.Errorf("%d signatures, want 1", n)
			}
		})
	}
}

// TestPruneIsBack: what was pushed again while we looked keeps its signatures.
func TestPruneIsBack(t *testing.T) {
	s := registrytest.Distribution(t)
	image := registrytest.Image(t)
	digest := s.Push(t, "app:v1", image)
	r := rotate(t, s)
	r.fire("app")
	remove(t, open(t, s, nil), "app", digest)
	looked := false
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, ".sig") && !looked {
				looked = true
				raw, err := image.RawManifest()
				if err != nil {
					t.Error(err)
				}
				put := httptest.NewRequest(http.MethodPut, "/v2/app/manifests/v1", bytes.NewReader(raw))
				put.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				inner.ServeHTTP(httptest.NewRecorder(), put)
			}
			inner.ServeHTTP(w, q)
		})
	})
	sum, list := r.prune(true, "app")
	if !looked || sum.Removed != 0 || sum.Failed != 0 || len(list) != 0 {
		t.Errorf("looked %t, %+v %+v", looked, sum, list)
	}
	if n := s.Signatures(t, "app", digest); n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}
}

// TestPruneWaitsForClaims of other workers.
func TestPruneWaitsForClaims(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 1)
	r := rotate(t, s)
	r.fire("app")
	sign(t, open(t, s, nil), r.old, policy.FormatCosign, digests[0])
	hold, err := r.journal.Hold(t.Context(), "test", "app", digests[0].String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s.Reset()
	read := make(chan struct{})
	done := make(chan engine.PruneSum)
	go func() {
		sum, err := r.setup.Prune(t.Context(), []string{"app"}, r.journal, func(engine.PruneFinding) { close(read) })
		if err != nil {
			t.Error(err)
		}
		done <- sum
	}()
	select {
	case <-read:
		t.Error("it did not wait")
	case <-time.After(time.Second): // nothing is to happen
	}
	if w := writes(s); len(w) > 0 {
		t.Errorf("written under another's claim: %q", w)
	}
	if err := hold.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sum := <-done; sum.Removed != 1 {
		t.Errorf("%+v", sum)
	}
}

// TestPruneFailures are findings; the rest is pruned all the same.
func TestPruneFailures(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	r := rotate(t, s, policy.FormatBundle)
	r.fire("app")
	st := open(t, s, nil)
	for _, d := range digests {
		sign(t, st, r.old, policy.FormatBundle, d)
	}
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Method == http.MethodDelete {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			inner.ServeHTTP(w, q)
		})
	})
	sum, list := r.prune(true, "app")
	if sum.Duplicates != 2 || sum.Removed != 0 || sum.Failed != 2 || len(list) != 2 || list[0].Reason != engine.ReasonUnsupported {
		t.Errorf("%+v %+v", sum, list)
	}
	if _, err := r.setup.Prune(t.Context(), []string{"nosuch"}, nil, nil); !errors.Is(err, engine.ErrPolicy) {
		t.Errorf("no such policy: %v", err)
	}
	broken := withKeys(t, s, map[string]engine.Key{"old": {Err: journal.ErrClosed}}, named("app", "old", nil))
	if _, err := broken.setup.Prune(t.Context(), []string{"app"}, nil, nil); err == nil {
		t.Error("pruned with a key that cannot verify")
	}
}

// TestPruneLayout: a directory has tags and deletes, too.
func TestPruneLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app")
	tagged, _ := registrytest.Layout(t, dir)
	st, err := registry.Open(registry.Config{Name: "test", Host: "oci-layout:" + dir, Kind: "oci-layout"})
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	j, err := journal.Open(t.Context(), journal.Options{State: journaltest.SQLiteJournal(t)})
	if err != nil {
		t.Fatal(err)
	}
	both := []policy.Format{policy.FormatCosign, policy.FormatBundle}
	setup, err := engine.NewSetup([]policy.Policy{named("app", "old", both)}, map[string]*engine.Place{"test": engine.NewPlace(st, 8)},
		map[string]engine.Key{"old": {Signer: key}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, journal: j, setup: setup, Engine: engine.New(engine.Options{Journal: j, Setup: setup, Log: logger(t)})}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.stop)
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: 2})
	sign(t, st, key, policy.FormatBundle, tagged[1])
	remove(t, st, "app", tagged[0])
	r := &rotation{house: h}
	if sum, list := r.prune(false, "app"); sum.Orphans != 2 || sum.Duplicates != 1 || sum.Removed != 0 {
		t.Errorf("%+v %+v", sum, list)
	}
	if sum, list := r.prune(true, "app"); sum.Removed != 3 || sum.Failed != 0 {
		t.Errorf("%+v %+v", sum, list)
	}
	if sum, list := r.prune(true, "app"); len(list) > 0 {
		t.Errorf("again: %+v %+v", sum, list)
	}
	if diff := gocmp.Diff(once(both), signedBy(t, st, key, tagged[1])); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
