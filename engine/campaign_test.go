package engine_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
	"github.com/sealwright/sealwright/registry/signature"
)

var allFormats = []policy.Format{policy.FormatCosign, policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE}

// A rotation is an engine whose policy "app" signed with key old, and whose
// policy "others", which covers the same, signs with another.
type rotation struct {
	*house
	old, next, stranger *countingSigner
	keys                map[string]engine.Key
}

// rotate starts an engine with keys old, next and stranger, and policies app
// (which signs with old), late (which signs with next) and strangers.
func rotate(t *testing.T, s *registrytest.Server, formats ...policy.Format) *rotation {
	t.Helper()
	r := &rotation{old: newKey(t), next: newKey(t), stranger: newKey(t), keys: map[string]engine.Key{}}
	for name, k := range map[string]*countingSigner{"old": r.old, "next": r.next, "stranger": r.stranger} {
		r.keys[name] = engine.Key{Signer: lasting{k}, Certificates: certify(t, k, 100*time.Hour)}
	}
	r.house = withKeys(t, s, r.keys, named("app", "old", formats), named("late", "next", formats), named("strangers", "stranger", formats))
	return r
}

// lasting is a key that several engines use, one after the other.
type lasting struct{ kms.Signer }

func (lasting) Close() error { return nil }

func named(name, key string, list []policy.Format) policy.Policy {
	p := formats(onlyApp(), list...)
	p.Name, p.Key = name, key
	return p
}

// step fires a step of the campaign from old to next for policy app.
func (r *rotation) step(step engine.Step) journal.Execution {
	r.t.Helper()
	return r.fire(engine.Campaign{Step: step, From: "old", To: "next", Policy: "app"}.Name())
}

// signedBy returns by how many valid signatures of each format a key has signed
// a digest under its own name.
func (r *rotation) signedBy(k *countingSigner, d v1.Hash) map[policy.Format]int {
	r.t.Helper()
	return signedBy(r.t, open(r.t, r.server, nil), k, d)
}

func signedBy(t *testing.T, st registry.Registry, k kms.Signer, d v1.Hash) map[policy.Format]int {
	t.Helper()
	desc, err := st.Resolve(t.Context(), "app", d.String())
	if err != nil {
		t.Fatal(err)
	}
	image := signature.NewLayouts(st).Image(signature.Subject{Repository: "app", Digest: d, MediaType: desc.MediaType, Size: desc.Size}, signature.Witnesses{})
	public := k.Public()
	all, err := image.Check(t.Context(), []signature.Key{{Verifier: public, Algorithm: public.Algorithm(), PublicKey: public.DER()}})
	if err != nil {
		t.Fatal(err)
	}
	out := map[policy.Format]int{}
	for _, v := range all {
		if v.Identity == st.Host()+"/app" {
			out[v.Format]++
		}
	}
	return out
}

func once(list []policy.Format) map[policy.Format]int {
	out := map[policy.Format]int{}
	for _, f := range list {
		out[f] = 1
	}
	return out
}

func (r *rotation) want(what string, k *countingSigner, digests []v1.Hash, want map[policy.Format]int) {
	r.t.Helper()
	for _, d := range digests {
		if diff := cmp.Diff(want, r.signedBy(k, d)); diff != "" {
			r.t.Errorf("%s: valid signatures of %s (-want +got):\n%s", what, d, diff)
		}
	}
}

// stored returns all manifests of signatures in app, byte for byte, by digest.
func stored(t *testing.T, st registry.Registry, digests []v1.Hash) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, d := range digests {
		list, err := registry.NewReferrers(st).List(t.Context(), "app", d, func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			m, err := st.Manifest(t.Context(), "app", r.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			out[r.Digest.String()] = string(m.Raw)
		}
		m, err := st.Manifest(t.Context(), "app", signature.CosignTag(d))
		if err == nil {
			out[signature.CosignTag(d)] = string(m.Raw)
		} else if !errors.Is(err, registry.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return out
}

// TestRotation in every format: both keys' signatures are valid until the old
// ones are removed, others' stay byte for byte, and each step can be repeated.
func TestRotation(t *testing.T) {
	for name, server := range map[string]func(testing.TB) *registrytest.Server{
		"without referrers API": registrytest.Distribution,
		"with referrers API":    func(t testing.TB) *registrytest.Server { return registrytest.Referrers(t, registrytest.ReferrersAPI{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			digests := pushSome(t, s, 3)
			r := rotate(t, s, allFormats...)
			for _, p := range []string{"strangers", "app"} {
				wantCounts(t, r.fire(p), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
			}
			fresh := s.Push(t, "app:unsigned", registrytest.Image(t))
			r.old.uses.Store(0)

			wantCounts(t, r.step(engine.Resign), journal.Succeed, map[string]int64{engine.ReasonSigned: 3, engine.ReasonNothingOld: 1})
			if r.next.uses.Load() != 3*4 || r.old.uses.Load() != 0 {
				t.Errorf("%d uses of the new key, %d of the old; want 12 and none", r.next.uses.Load(), r.old.uses.Load())
			}
			for what, k := range map[string]*countingSigner{"old": r.old, "new": r.next, "stranger": r.stranger} {
				r.want(what+" after resign", k, digests, once(allFormats))
				r.want(what+" of the one that was not signed", k, []v1.Hash{fresh}, map[policy.Format]int{})
			}
			wantCounts(t, r.step(engine.Resign), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 3, engine.ReasonNothingOld: 1})
			if n := r.next.uses.Load(); n != 12 {
				t.Errorf("%d uses of the new key after the second time, want none more", n)
			}

			before := stored(t, open(t, s, nil), digests)
			wantCounts(t, r.step(engine.Remove), journal.Succeed, map[string]int64{engine.ReasonOldRemoved: 3, engine.ReasonNothingOld: 1})
			r.want("old after remove-old", r.old, digests, map[policy.Format]int{})
			r.want("new after remove-old", r.next, digests, once(allFormats))
			r.want("stranger after remove-old", r.stranger, digests, once(allFormats))
			r.wantOthersUntouched(before, digests)
			s.Reset()
			wantCounts(t, r.step(engine.Remove), journal.Succeed, map[string]int64{engine.ReasonNothingOld: 4})
			if q := s.Requests(); q["PUT"]+q["DELETE"]+q["POST"] > 0 {
				t.Errorf("removing again wrote: %v", q)
			}
			if n := r.next.uses.Load() + r.old.uses.Load(); n != 12 {
				t.Errorf("%d uses of the keys in all, want still 12", n)
			}
		})
	}
}

// wantOthersUntouched: of the three signatures in three manifests of each
// referrers format two are as they were, and in the cosign manifest the first
// and the last layer.
func (r *rotation) wantOthersUntouched(before map[string]string, digests []v1.Hash) {
	r.t.Helper()
	after := stored(r.t, open(r.t, r.server, nil), digests)
	for name, raw := range after {
		if !strings.HasSuffix(name, ".sig") {
			if before[name] != raw {
				r.t.Errorf("%s was changed", name)
			}
			continue
		}
		for _, part := range strings.Split(raw, `{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json"`)[1:] {
			part, _, _ = strings.Cut(part, "}}")
			if !strings.Contains(before[name], part) {
				r.t.Errorf("a layer of %s was changed: %s", name, part)
			}
		}
	}
	if want := len(digests) * (1 + 3*2); len(after) != want {
		r.t.Errorf("%d signature manifests, want %d", len(after), want)
	}
}

// TestResignPlan: a survey of the campaign says what it will do and cost, and
// writes nothing.
func TestResignPlan(t *testing.T) {
	s := registrytest.Distribution(t)
	pushSome(t, s, 4)
	r := rotate(t, s, policy.FormatCosign, policy.FormatBundle)
	r.fire("app")
	s.Push(t, "app:unsigned", registrytest.Image(t))
	s.Reset()
	name := engine.Campaign{Step: engine.Resign, From: "old", To: "next", Policy: "app"}.Name()
	var open []engine.Finding
	sum, err := r.setup.Survey(t.Context(), name, 0, func(f engine.Finding) { open = append(open, f) })
	if err != nil || sum.Covered != 4 || sum.Unsigned != 4 || sum.Signed != 0 || sum.KeyUses != 8 || len(open) != 4 {
		t.Errorf("plan %+v of %d, %v", sum, len(open), err)
	}
	if q := s.Requests(); q["PUT"]+q["POST"]+q["DELETE"] > 0 {
		t.Errorf("the plan wrote: %v", q)
	}
	again := withKeys(t, s, r.keys, named("app", "old", []policy.Format{policy.FormatCosign, policy.FormatBundle})) // knows of no blobs
	s.Reset()
	if x := again.fire(name); x.Status != journal.Succeed {
		t.Fatal(x.Status, x.Detail)
	}
	if n := r.next.uses.Load(); n != sum.KeyUses {
		t.Errorf("%d uses of the new key, planned were %d", n, sum.KeyUses)
	}
	for _, verb := range []string{"PUT", "POST"} {
		// Of the configs, which are the same for all, the first may be written by
		// several who do not wait for each other.
		if got := int64(s.Requests()[verb]); got < sum.Requests[verb] || got > sum.Requests[verb]+6 {
			t.Errorf("%s: %d requests, planned were %d", verb, got, sum.Requests[verb])
		}
	}
	sum, err = r.setup.Survey(t.Context(), name, 0, func(engine.Finding) {})
	if err != nil || sum.Covered != 4 || sum.Signed != 4 || sum.KeyUses != 0 {
		t.Errorf("plan afterwards %+v, %v", sum, err)
	}
}

// TestResignGoesOn where it was stopped: with what the new key has signed, it is
// not used again.
func TestResignGoesOn(t *testing.T) {
	s := registrytest.Distribution(t)
	const images = 40
	digests := pushSome(t, s, images)
	old, next := newKey(t), newKey(t)
	state := t.TempDir()
	policies := []policy.Policy{named("app", "old", nil)}
	keys := map[string]engine.Key{"old": {Signer: lasting{old}}, "next": {Signer: lasting{next}}}
	begin := func() *house {
		h := &house{t: t, server: s}
		var err error
		if h.journal, err = journal.Open(t.Context(), journal.Options{State: state}); err != nil {
			t.Fatal(err)
		}
		if h.setup, err = engine.NewSetup(policies, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 2)}, keys, nil); err != nil {
			t.Fatal(err)
		}
		h.Engine = engine.New(engine.Options{Journal: h.journal, Setup: h.setup, Log: logger(t), Deadline: 20 * time.Second})
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := begin()
	wantCounts(t, h.fire("app"), journal.Succeed, map[string]int64{engine.ReasonSigned: images})
	middle := make(chan struct{})
	var reached sync.Once
	next.fail = func() error {
		if next.uses.Load() >= images/4 {
			reached.Do(func() { close(middle) })
		}
		return nil
	}
	x, err := h.Fire(t.Context(), engine.Campaign{Step: engine.Resign, From: "old", To: "next", Policy: "app"}.Name())
	if err != nil {
		t.Fatal(err)
	}
	<-middle
	h.stop()
	if n := next.uses.Load(); n == images {
		t.Fatal("it was stopped too late to tell anything")
	}
	h = begin() // which needs not be told to go on
	defer h.stop()
	if x = h.await(x.ID); x.Status != journal.Succeed || x.Counts.Total != images {
		t.Errorf("after the restart %s %s %+v", x.Status, x.Detail, x.Counts)
	}
	if n := next.uses.Load(); n != images {
		t.Errorf("%d uses of the new key for %d images", n, images)
	}
	st := open(t, s, nil)
	for _, d := range digests {
		if signedBy(t, st, old, d)[policy.FormatCosign] != 1 || signedBy(t, st, next, d)[policy.FormatCosign] != 1 {
			t.Errorf("%s is not signed once by both", d)
		}
	}
}

// tamper replaces the signature manifests of cosign, or the bundles, by what edit
// makes of them.
func tamper(t *testing.T, st registry.Registry, d v1.Hash, edit func(string) string) {
	t.Helper()
	m, err := st.Manifest(t.Context(), "app", signature.CosignTag(d))
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(edit(string(m.Raw)))
	if _, err := st.PutManifest(t.Context(), "app", signature.CosignTag(d), m.MediaType, raw); err != nil {
		t.Fatal(err)
	}
}

// TestRemoveOldVerifiesFirst: where the new signature is missing or was tampered
// with since, the old one stays.
func TestRemoveOldVerifiesFirst(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 4)
	r := rotate(t, s, policy.FormatCosign)
	r.fire("app")
	r.step(engine.Resign)
	st := open(t, s, nil)
	late := s.Push(t, "app:late", registrytest.Image(t))
	r.fire("app") // what came since
	// Of the first two layers, the second is the new key's.
	const annotation = `"dev.cosignproject.cosign/signature":"`
	tamper(t, st, digests[0], func(raw string) string { // half a signature
		i := strings.LastIndex(raw, annotation) + len(annotation)
		return raw[:i] + "AAAA" + raw[i+4:]
	})
	tamper(t, st, digests[1], func(raw string) string { // another's in its place
		first, second := strings.Index(raw, annotation), strings.LastIndex(raw, annotation)
		end := strings.Index(raw[first+len(annotation):], `"`) + first + len(annotation)
		secondEnd := strings.Index(raw[second+len(annotation):], `"`) + second + len(annotation)
		return raw[:second] + raw[first:end] + raw[secondEnd:]
	})
	x := r.step(engine.Remove)
	wantCounts(t, x, journal.Failed, map[string]int64{engine.ReasonNotResigned: 3, engine.ReasonOldRemoved: 2})
	refused := []v1.Hash{digests[0], digests[1], late}
	r.want("old, refused", r.old, refused[:1], map[policy.Format]int{policy.FormatCosign: 1})
	r.want("old, refused", r.old, []v1.Hash{late}, map[policy.Format]int{policy.FormatCosign: 1})
	if n := s.Signatures(t, "app", digests[1]); n != 2 {
		t.Errorf("%d layers, want that both stay", n)
	}
	r.want("old, removed", r.old, digests[2:], map[policy.Format]int{})
	for _, d := range refused {
		if st := r.subtasks(x.ID)[d.String()]; st.Reason != engine.ReasonNotResigned || !strings.Contains(st.Detail, "the old signature stays") {
			t.Errorf("%s: %s %s", d, st.Reason, st.Detail)
		}
	}
	// Once it is signed again, it goes.
	if x := r.step(engine.Resign); x.Status != journal.Succeed {
		t.Fatal(x.Detail)
	}
	wantCounts(t, r.step(engine.Remove), journal.Succeed, map[string]int64{engine.ReasonOldRemoved: 3, engine.ReasonNothingOld: 2})
	r.want("old", r.old, append(digests, late), map[policy.Format]int{})
	r.want("new", r.next, append(digests, late), map[policy.Format]int{policy.FormatCosign: 1})
}

// TestRemoveOldNeedsEveryFormat: nothing of an image is removed unless the new
// key has signed it in all formats of the old one.
func TestRemoveOldNeedsEveryFormat(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	r := rotate(t, s, policy.FormatCosign, policy.FormatBundle)
	r.fire("app")
	only := withKeys(t, s, r.keys, named("app", "next", []policy.Format{policy.FormatCosign}))
	only.fire("app")
	wantCounts(t, r.step(engine.Remove), journal.Failed, map[string]int64{engine.ReasonNotResigned: 2})
	r.want("old", r.old, digests, once([]policy.Format{policy.FormatCosign, policy.FormatBundle}))
}

// TestRemoveOldWhereNothingIsDeleted: formats that would have to be deleted fail
// and say so; a cosign manifest that keeps the new signature is rewritten.
func TestRemoveOldWhereNothingIsDeleted(t *testing.T) {
	for format, want := range map[policy.Format]struct {
		status journal.Status
		reason string
	}{
		policy.FormatCosign: {journal.Succeed, engine.ReasonOldRemoved},
		policy.FormatBundle: {journal.Failed, engine.ReasonUnsupported},
	} {
		t.Run(string(format), func(t *testing.T) {
			s := registrytest.Distribution(t)
			digests := pushSome(t, s, 2)
			r := rotate(t, s, format)
			r.fire("app")
			r.step(engine.Resign)
			s.Intercept(func(inner http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					if q.Method == http.MethodDelete {
						w.WriteHeader(http.StatusMethodNotAllowed)
						_, _ = io.WriteString(w, `{"errors":[{"code":"UNSUPPORTED"}]}`)
						return
					}
					inner.ServeHTTP(w, q)
				})
			})
			wantCounts(t, r.step(engine.Remove), want.status, map[string]int64{want.reason: 2})
			r.want("new", r.next, digests, map[policy.Format]int{format: 1})
		})
	}
}

// TestCampaignsRefused before anything is done.
func TestCampaignsRefused(t *testing.T) {
	s := registrytest.Memory(t)
	old, sm2 := newKey(t), newKeyOf(t, policy.SM2SM3)
	keys := map[string]engine.Key{"old": {Signer: old}, "next": {Signer: newKey(t)}, "again": {Signer: old}, "sm2": {Signer: sm2}, "third": {Signer: newKey(t)}}
	disabled := named("disabled", "old", nil)
	off := false
	disabled.Enabled = &off
	keys["certified"] = engine.Key{Signer: old, Certificates: certify(t, old, time.Hour)}
	h := withKeys(t, s, keys, named("app", "old", nil), named("notation", "certified", []policy.Format{policy.FormatCosign, policy.FormatNotationJWS}), named("bundles", "old", []policy.Format{policy.FormatBundle}), named("third", "third", nil), disabled)
	for name, want := range map[string]string{
		"resign/old/next/nosuch":         `no policy is named "nosuch"`,
		"resign/nosuch/next/app":         `no key is named "nosuch"`,
		"resign/old/nosuch/app":          `no key is named "nosuch"`,
		"resign/old/old/app":             "cannot follow itself",
		"resign/old/again/app":           "are the same key",
		"resign/old/next/third":          `policy "third" signs with "third"`,
		"resign/old/sm2/bundles":         "SM2",
		"resign/certified/next/notation": `key "next" has none`,
		"remove-old/old/next/third":      `policy "third" signs with "third"`,
		"resign/old/next/disabled":       "is disabled",
		"destroy/old/next/app":           "no policy is named",
		"resign/old/next":                "no policy is named",
		"resign/old/next/app/another":    "no policy is named",
	} {
		x, err := h.Fire(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", name, x, err, want)
		}
	}
	if len(s.Log()) > 0 {
		t.Errorf("the registry was asked: %q", s.Log())
	}
}

// TestCampaignKeysThatFail end the execution: the new one when it is switched
// off, and the old one when it cannot be had.
func TestCampaignKeysThatFail(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 30)
	old, next := newKey(t), newKey(t)
	withKeys(t, s, map[string]engine.Key{"old": {Signer: lasting{old}}}, named("app", "old", nil)).fire("app")
	var by kms.Switch
	by.Set(true, "")
	h := withKeys(t, s, map[string]engine.Key{"old": {Signer: lasting{old}}, "next": {Signer: by.Guard(lasting{next})}}, named("app", "old", nil))
	name := engine.Campaign{Step: engine.Resign, From: "old", To: "next", Policy: "app"}.Name()
	x := h.fire(name)
	if x.Status != journal.Failed || x.Reason != engine.ReasonKeyDisabled || next.uses.Load() != 0 || x.Counts.Total > 16 {
		t.Errorf("disabled: %s %s, %d uses, %d artifacts", x.Status, x.Reason, next.uses.Load(), x.Counts.Total)
	}
	by.Set(false, "")
	x = h.fire(name)
	// Artifacts of the first execution that were just about to be signed may be.
	n := x.Counts.Reasons
	if x.Status != journal.Succeed || n[engine.ReasonSigned]+n[engine.ReasonAlreadySigned] != int64(len(digests)) || next.uses.Load() != int64(len(digests)) {
		t.Errorf("enabled: %s %s, %v, %d uses", x.Status, x.Detail, n, next.uses.Load())
	}

	// The old key has only to verify: that it is switched off does not matter.
	var off kms.Switch
	off.Set(true, "")
	h = withKeys(t, s, map[string]engine.Key{"old": {Signer: off.Guard(lasting{old})}, "next": {Signer: lasting{next}}}, named("app", "next", nil))
	wantCounts(t, h.fire(strings.Replace(name, string(engine.Resign), string(engine.Remove), 1)), journal.Succeed,
		map[string]int64{engine.ReasonOldRemoved: int64(len(digests))})

	h = withKeys(t, s, map[string]engine.Key{"old": {Err: kms.ErrUnavailable}, "next": {Signer: lasting{next}}}, named("app", "next", nil))
	if x := h.fire(name); x.Status != journal.Failed || x.Reason != engine.ReasonKeyUnavailable {
		t.Errorf("without the old key: %s %s", x.Status, x.Reason)
	}
}

// TestRotationFromSM2: formats that the old key cannot have signed in are none of
// the campaign's.
func TestRotationFromSM2(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 2)
	old, next := newKeyOf(t, policy.SM2SM3), newKey(t)
	keys := map[string]engine.Key{"old": {Signer: lasting{old}}, "next": {Signer: lasting{next}}}
	withKeys(t, s, keys, named("app", "old", nil)).fire("app")
	h := withKeys(t, s, keys, named("app", "next", []policy.Format{policy.FormatCosign, policy.FormatBundle}))
	for _, step := range []engine.Step{engine.Resign, engine.Remove} {
		if x := h.fire(engine.Campaign{Step: step, From: "old", To: "next", Policy: "app"}.Name()); x.Status != journal.Succeed {
			t.Errorf("%s: %s %s %v", step, x.Status, x.Reason, x.Counts.Reasons)
		}
	}
	st := open(t, s, nil)
	for _, d := range digests {
		if got := signedBy(t, st, next, d); !cmp.Equal(got, map[policy.Format]int{policy.FormatCosign: 1}) {
			t.Errorf("%v", got)
		}
		if n := s.Signatures(t, "app", d); n != 1 {
			t.Errorf("%d signatures", n)
		}
	}
}

// writes are the requests that change a registry.
func writes(s *registrytest.Server) []string {
	return slices.DeleteFunc(s.Log(), func(line string) bool {
		return strings.HasPrefix(line, "GET ") || strings.HasPrefix(line, "HEAD ")
	})
}

// TestRotationOfWhatCountsNoMore: a signature whose certificate is out of date
// or unknown by now is still the old key's, signed anew and removed.
func TestRotationOfWhatCountsNoMore(t *testing.T) {
	for name, chain := range map[string]func(*countingSigner) []*x509.Certificate{
		"another root":   func(k *countingSigner) []*x509.Certificate { return certify(t, k, 100*time.Hour) },
		"no certificate": func(*countingSigner) []*x509.Certificate { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.Distribution(t)
			digests := pushSome(t, s, 2)
			list := []policy.Format{policy.FormatNotationJWS}
			r := rotate(t, s, list...)
			r.fire("app")
			r.keys["old"] = engine.Key{Signer: lasting{r.old}, Certificates: chain(r.old)}
			r.house = withKeys(t, s, r.keys, named("app", "next", list))
			wantCounts(t, r.step(engine.Resign), journal.Succeed, map[string]int64{engine.ReasonSigned: 2})
			wantCounts(t, r.step(engine.Remove), journal.Succeed, map[string]int64{engine.ReasonOldRemoved: 2})
			r.want("old", r.old, digests, map[policy.Format]int{})
			r.want("new", r.next, digests, once(list))
		})
	}
}

// TestResignOfWhatWasRemoved: an old signature that goes away while the artifact
// waits for another worker leaves nothing to be said of the new key.
func TestResignOfWhatWasRemoved(t *testing.T) {
	s := registrytest.Distribution(t)
	d := pushSome(t, s, 1)[0]
	r := rotate(t, s, policy.FormatCosign)
	r.fire("app")
	hold, err := r.journal.Hold(t.Context(), "test", "app", d.String(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	looked := make(chan struct{}, 8)
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			inner.ServeHTTP(w, q)
			if q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, ".sig") {
				looked <- struct{}{}
			}
		})
	})
	x, err := r.Fire(t.Context(), engine.Campaign{Step: engine.Resign, From: "old", To: "next", Policy: "app"}.Name())
	if err != nil {
		t.Fatal(err)
	}
	<-looked // for the old key
	<-looked // for the new one
	st := open(t, s, nil)
	m, err := st.Resolve(t.Context(), "app", signature.CosignTag(d))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, st, "app", m.Digest)
	if err := hold.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, r.await(x.ID), journal.Succeed, map[string]int64{engine.ReasonNothingOld: 1})
}
