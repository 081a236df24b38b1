package engine_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestSignsWhatThePolicyCoversOnce(t *testing.T) {
	s := registrytest.Distribution(t)
	var covered []v1.Hash
	for _, tag := range []string{"v1", "v2"} {
		covered = append(covered, s.Push(t, "library/app:"+tag, registrytest.Image(t)))
	}
	left := []v1.Hash{s.Push(t, "library/app:dev", registrytest.Image(t)), s.Push(t, "other/app:v1", registrytest.Image(t))}
	twice := registrytest.Image(t)
	covered = append(covered, s.Push(t, "library/web:v1", twice))
	s.Tag(t, "library/web:v1.0", twice)

	p := everything("releases")
	p.Namespace = "library"
	p.Scope[0].Tags = matches("v*")
	h := build(t, s, []policy.Policy{p}, nil)
	wantCounts(t, h.fire("releases"), journal.Succeed, map[string]int64{engine.ReasonSigned: 3})
	for i, repo := range []string{"library/app", "library/app", "library/web"} {
		if n := s.Signatures(t, repo, covered[i]); n != 1 {
			t.Errorf("%s@%s has %d signatures, want 1", repo, covered[i], n)
		}
	}
	if n := s.Signatures(t, "library/app", left[0]) + s.Signatures(t, "other/app", left[1]); n != 0 {
		t.Errorf("%d signatures on what the policy does not cover", n)
	}
	if uses := h.key.uses.Load(); uses != 3 {
		t.Errorf("%d key uses, want 3", uses)
	}

	// Again: our own signatures are no candidates, the key is not used, and
	// nothing is written.
	s.Reset()
	again := h.fire("releases")
	wantCounts(t, again, journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 3})
	if uses := h.key.uses.Load(); uses != 3 {
		t.Errorf("%d key uses after the second run, want still 3", uses)
	}
	if r := s.Requests(); r["PUT"]+r["POST"]+r["PATCH"] != 0 {
		t.Errorf("the second run wrote: %v", r)
	}
	if st := h.subtasks(again.ID)[covered[2].String()]; len(st.Tags) != 2 {
		t.Errorf("tags of the twice tagged image: %v, want both", st.Tags)
	}
}

func TestRequestsPerSignature(t *testing.T) {
	s := registrytest.Distribution(t)
	const images = 20
	for i := range images {
		s.Push(t, "app:v"+strconv.Itoa(i), registrytest.Image(t))
	}
	h := build(t, s, []policy.Policy{everything("all")}, nil)
	s.Reset()
	h.fire("all")
	sum := func(m map[string]int) (n int) {
		for _, k := range m {
			n += k
		}
		return n
	}
	// Besides the signatures: ping, catalog, tags, and the config blob once.
	first := s.Requests()
	if got := sum(first); got > 7*images+5 {
		t.Errorf("%d requests for %d new signatures, want at most 7 each: %v\n%s", got, images, first, strings.Join(s.Log(), "\n"))
	}
	s.Reset()
	h.fire("all")
	if got := sum(s.Requests()); got > 2*images+3 {
		t.Errorf("%d requests for %d signed artifacts, want at most 2 each: %v", got, images, s.Requests())
	}
}

func TestIndexModes(t *testing.T) {
	s := registrytest.Distribution(t)
	amd, arm, deep := registrytest.Image(t), registrytest.Image(t), registrytest.Image(t)
	inner := registrytest.Index(t, deep)
	index := registrytest.Index(t, amd, arm, inner)
	for _, repo := range []string{"index/app", "children/app", "both/app"} {
		s.Push(t, repo+":v1", index)
	}
	var policies []policy.Policy
	for _, mode := range []policy.IndexMode{policy.IndexOnly, policy.IndexChildren, policy.IndexBoth} {
		p := everything(string(mode))
		p.Namespace, p.Index = string(mode), mode
		policies = append(policies, p)
	}
	h := build(t, s, policies, nil)
	for _, p := range policies {
		h.fire(p.Name)
	}
	type manifest struct {
		name   string
		digest v1.Hash
		child  bool
	}
	for _, m := range []manifest{{"the index", registrytest.Digest(t, index), false}, {"amd64", registrytest.Digest(t, amd), true},
		{"arm64", registrytest.Digest(t, arm), true}, {"the nested index", registrytest.Digest(t, inner), true},
		{"the image below it", registrytest.Digest(t, deep), true}} {
		for mode, want := range map[string]bool{"index": !m.child, "children": m.child, "both": true} {
			if got := s.Signatures(t, mode+"/app", m.digest) == 1; got != want {
				t.Errorf("index: %s: %s signed: %v, want %v", mode, m.name, got, want)
			}
		}
	}
}

func TestUntaggedThroughStorage(t *testing.T) {
	s := registrytest.Distribution(t)
	tagged := s.Push(t, "app:v1", registrytest.Image(t))
	untagged := s.Push(t, "app:", registrytest.Image(t))
	p := everything("all")
	p.Scope[0].Untagged = true
	h := &house{t: t, server: s, key: newKey(t)}
	h.start(t.TempDir(), open(t, s, func(c *registry.Config) { c.Kind, c.Storage = "distribution", s.Storage() }),
		[]policy.Policy{p}, nil)
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: 2})
	if s.Signatures(t, "app", tagged) != 1 || s.Signatures(t, "app", untagged) != 1 {
		t.Error("not both are signed")
	}
	// The signatures are untagged manifests of that storage too; they are no
	// candidates.
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 2})
}

func TestSurveyTellsTheTruth(t *testing.T) {
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	index := registrytest.Index(t, registrytest.Image(t))
	s.Push(t, "app:v2", index)
	p := everything("all")
	p.Scope[0].Untagged = true
	h := build(t, s, []policy.Policy{p}, nil)
	survey := func() (engine.Coverage, []engine.Finding) {
		var found []engine.Finding
		c, err := h.setup.Survey(t.Context(), "all", 0, func(f engine.Finding) { found = append(found, f) })
		if err != nil {
			t.Fatal(err)
		}
		return c, found
	}
	before, found := survey()
	if before.Covered != 2 || before.Unsigned != 2 || before.KeyUses != 2 || len(found) != 2 || before.Complete() {
		t.Errorf("before: %+v", before)
	}
	if before.Unseen == "" {
		t.Error("it is not said that untagged artifacts cannot be seen")
	}
	s.Reset()
	h.fire("all")
	spent := s.Requests()
	after, _ := survey()
	if after.Signed != 2 || after.Unsigned != 0 || after.KeyUses != 0 {
		t.Errorf("after: %+v", after)
	}
	// What the plan said it would write is what was written.
	for _, verb := range []string{"POST", "PUT"} {
		if int64(spent[verb]) != before.Requests[verb] {
			t.Errorf("%s: %d requests were planned, %d sent", verb, before.Requests[verb], spent[verb])
		}
	}
	if h.key.uses.Load() != before.KeyUses {
		t.Errorf("%d key uses were planned, %d made", before.KeyUses, h.key.uses.Load())
	}
}

func TestTwoPoliciesTwoKeysOneArtifact(t *testing.T) {
	s := registrytest.Distribution(t)
	digests := pushSome(t, s, 10)
	twoKeys(t, s, everything("a"), everything("b"), map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)}, digests)
}

func TestKeyFailuresSignNothing(t *testing.T) {
	s := registrytest.Distribution(t)
	d := s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("all")}, nil)
	h.key.fail = func() error { return errors.New("the HSM is asleep") }
	x := h.fire("all")
	wantCounts(t, x, journal.Failed, map[string]int64{engine.ReasonKey: 1})
	if s.Signatures(t, "app", d) != 0 {
		t.Error("signed all the same")
	}
	recs, err := h.journal.Records(t.Context(), journal.RecordFilter{Digest: d.String(), Limit: 10})
	if err != nil || len(recs) != 1 || recs[0].State != journal.Broken {
		t.Errorf("records %+v, %v: want one that failed", recs, err)
	}
	h.key.fail = nil
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
}

func TestForeignKeyDoesNotCount(t *testing.T) {
	s := registrytest.Distribution(t)
	d := s.Push(t, "app:v1", registrytest.Image(t))
	build(t, s, []policy.Policy{everything("theirs")}, nil).fire("theirs")
	ours := build(t, s, []policy.Policy{everything("ours")}, nil)
	wantCounts(t, ours.fire("ours"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	if n := s.Signatures(t, "app", d); n != 2 {
		t.Errorf("%d signatures, want theirs and ours", n)
	}
}

func TestDomainIsTheIdentity(t *testing.T) {
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	plain, renamed := everything("plain"), everything("renamed")
	renamed.Domain = "registry.example.com"
	h := build(t, s, []policy.Policy{plain, renamed}, nil)
	h.fire("plain")
	// The same key has signed the digest, but under another name.
	x := h.fire("renamed")
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	recs, err := h.journal.Records(t.Context(), journal.RecordFilter{Policy: "renamed", Limit: 1})
	if err != nil || len(recs) != 1 || recs[0].Identity != "registry.example.com/app" {
		t.Errorf("records %+v, %v", recs, err)
	}
	wantCounts(t, h.fire("renamed"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: 1})
}

func TestTagMovesDuringTheRun(t *testing.T) {
	s := registrytest.Distribution(t)
	old := s.Push(t, "app:latest", registrytest.Image(t))
	next := registrytest.Image(t)
	s.Push(t, "app:next", next)
	p := everything("all")
	p.Scope[0].Tags = matches("latest")
	h := build(t, s, []policy.Policy{p}, nil)
	var once sync.Once
	s.Intercept(func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".sig") {
				once.Do(func() { moveTag(t, inner, s, next) })
			}
			inner.ServeHTTP(w, r)
		})
	})
	x := h.fire("all")
	s.Intercept(nil)
	wantCounts(t, x, journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
	if st := h.subtasks(x.ID)[old.String()]; !st.TagMoved {
		t.Errorf("the subtask does not say that the tag moved: %+v", st)
	}
	// The next run finds where the tag is now.
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
}

func moveTag(t *testing.T, inner http.Handler, s *registrytest.Server, img v1.Image) {
	raw, err := img.RawManifest()
	if err != nil {
		t.Error(err)
		return
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.Host+"/v2/app/manifests/latest", strings.NewReader(string(raw)))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	req.RequestURI = req.URL.RequestURI()
	w := &recorder{header: http.Header{}}
	inner.ServeHTTP(w, req)
	if w.status != http.StatusCreated {
		t.Errorf("moving the tag: status %d", w.status)
	}
}

// recorder is the least http.ResponseWriter.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }

func TestReload(t *testing.T) {
	s := registrytest.Distribution(t)
	s.Push(t, "app:v1", registrytest.Image(t))
	h := build(t, s, []policy.Policy{everything("old")}, nil)
	h.replace(newSetup(t, s, everything("new")))
	if _, err := h.Fire(t.Context(), "old"); !errors.Is(err, engine.ErrPolicy) {
		t.Errorf("firing a removed policy: %v", err)
	}
	wantCounts(t, h.fire("new"), journal.Succeed, map[string]int64{engine.ReasonSigned: 1})
}

func TestSetupRefusesWhatIsMissing(t *testing.T) {
	lost := everything("lost")
	lost.Registry = "nowhere"
	keyless := everything("keyless")
	bundle := everything("bundle")
	bundle.Formats = []policy.Format{policy.FormatBundle}
	s := registrytest.Memory(t)
	_, err := engine.NewSetup([]policy.Policy{lost, keyless, bundle}, map[string]*engine.Place{"test": engine.NewPlace(open(t, s, nil), 8)}, nil, nil)
	for _, want := range []string{`"lost"`, `"nowhere"`, `"keyless"`, `"key"`, `"bundle"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestLongRepositoriesGoOnInTheNextSlice(t *testing.T) {
	s := registrytest.Distribution(t)
	const images = 30
	for i := range images {
		s.Push(t, "app:v"+strconv.Itoa(i), registrytest.Image(t))
	}
	h := build(t, s, []policy.Policy{everything("all")}, func(o *engine.Options) { o.Slice = 1 }) // one artifact each
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: images})
	if uses := h.key.uses.Load(); uses != images {
		t.Errorf("%d key uses, want %d", uses, images)
	}
}

func TestOCILayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	tagged, untagged := registrytest.Layout(t, dir)
	r, err := registry.Open(registry.Config{Name: "test", Host: "oci-layout:" + dir, Kind: "oci-layout"})
	if err != nil {
		t.Fatal(err)
	}
	p := everything("all")
	p.Scope[0].Untagged = true
	h := &house{t: t, key: newKey(t)}
	h.start(t.TempDir(), r, []policy.Policy{p}, nil)
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonSigned: int64(len(tagged) + len(untagged))})
	wantCounts(t, h.fire("all"), journal.Succeed, map[string]int64{engine.ReasonAlreadySigned: int64(len(tagged) + len(untagged))})
}
