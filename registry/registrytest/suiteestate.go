package registrytest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// put writes a manifest without a connection: thousands are no matter.
func (s *Server) put(t *testing.T, repository, ref string, raw []byte) (digest string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v2/"+repository+"/manifests/"+ref, strings.NewReader(string(raw)))
	req.Header.Set("Content-Type", mediaManifest)
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, req)
	if answer.Code != http.StatusCreated {
		t.Fatalf("writing %s:%s: %d %s", repository, ref, answer.Code, answer.Body)
	}
	return answer.Header().Get("Docker-Content-Digest")
}

// An estate is a repository with everything that an inventory must tell apart.
type estate struct {
	repository string
	tagged     map[string]bool // as names has it
	untagged   map[string]bool // those that never had a tag
	superseded map[string]bool // those that had
	referrers  map[string]bool // those that refer to another
	wrote      map[v1.Hash]written
}

// unnamed returns the untagged artifacts that can be seen.
func (e *estate) unnamed(target *SuiteTarget) map[string]bool {
	set := map[string]bool{}
	if target.Untagged {
		maps.Copy(set, e.untagged)
	}
	if target.Untagged && !target.HidesReferrers {
		maps.Copy(set, e.referrers)
	}
	if target.Untagged && !target.Forgets {
		maps.Copy(set, e.superseded)
	}
	return set
}

// wanted returns all artifacts that can be seen.
func (e *estate) wanted(target *SuiteTarget) map[string]bool {
	set := e.unnamed(target)
	maps.Copy(set, e.tagged)
	return set
}

// populate writes an estate.
func populate(t *testing.T, target *SuiteTarget, repository string) *estate {
	t.Helper()
	w := newWriter(t, target)
	e := &estate{
		repository: repository, wrote: w.wrote,
		tagged: map[string]bool{}, untagged: map[string]bool{}, superseded: map[string]bool{}, referrers: map[string]bool{},
	}
	name := func(set map[string]bool, tag string, m written) { set[tag+" "+m.digest.String()] = true }

	v1Image := w.image(repository, "v1", "one")
	w.image(repository, "v1.0", "one")
	w.image(repository, "latest", "one")
	for _, tag := range []string{"v1", "v1.0", "latest"} {
		name(e.tagged, tag, v1Image)
	}
	docker := map[string]any{"mediaType": mediaDocker}
	name(e.tagged, "docker", w.manifest(repository, "docker", docker, mediaDockerConf, mediaDockerTar, "docker"))
	name(e.superseded, "-", w.image(repository, "moving", "old"))
	name(e.tagged, "moving", w.image(repository, "moving", "new"))
	name(e.untagged, "-", w.image(repository, "", "lost"))
	name(e.referrers, "-", w.manifest(repository, "", map[string]any{"artifactType": mediaSPDX, "subject": v1Image.wire()}, mediaEmpty, "text/spdx", "sbom"))
	w.indexes(e, name)
	w.signatures(repository, v1Image)
	return e
}

// indexes writes multi-arch images that share children, one within another, and
// one without a tag. The children are artifacts only if they have a tag.
func (w *writer) indexes(e *estate, name func(map[string]bool, string, written)) {
	w.t.Helper()
	repository := e.repository
	amd, shared, arm := w.image(repository, "", "amd64"), w.image(repository, "", "shared"), w.image(repository, "", "arm64")
	name(e.tagged, "multi-a", w.index(repository, "multi-a", amd, shared))
	name(e.tagged, "multi-b", w.index(repository, "multi-b", shared, arm))
	w.image(repository, "arm", "arm64")
	name(e.tagged, "arm", arm)
	inner := w.index(repository, "", w.image(repository, "", "innermost"))
	name(e.tagged, "nested", w.index(repository, "nested", inner))
	name(e.untagged, "-", w.index(repository, "", w.image(repository, "", "of an untagged index")))
}

// signatures writes what refers to an image, by subject, by tag and by fallback
// index, and what such tags named before. No signature is an artifact; the SBOM
// is one, although a fallback index names it.
func (w *writer) signatures(repository string, of written) {
	w.t.Helper()
	tag := "sha256-" + of.digest.Hex
	referring := func(artifactType string) map[string]any {
		return map[string]any{"artifactType": artifactType, "subject": of.wire()}
	}
	notation := w.manifest(repository, "", referring(mediaNotation), mediaEmpty, "application/jose+json", "notation")
	bundle := w.manifest(repository, "", referring(mediaBundle), mediaEmpty, mediaBundle, "bundle")
	w.manifest(repository, "", map[string]any{}, mediaNotation, "application/cose", "old notation")
	for _, seed := range []string{"first", "second"} {
		w.manifest(repository, tag+".sig", map[string]any{}, mediaConfig, mediaCosign, seed+" signature")
		w.manifest(repository, tag+".att", map[string]any{}, mediaConfig, mediaDSSE, seed+" attestation")
	}
	sbom := w.manifest(repository, "", map[string]any{"artifactType": mediaSPDX, "subject": of.wire()}, mediaEmpty, "text/spdx", "sbom")
	entry := func(m written, artifactType string) map[string]any {
		e := m.wire()
		e["artifactType"] = artifactType
		return e
	}
	w.list(repository, tag, entry(notation, mediaNotation))
	w.list(repository, tag, entry(notation, mediaNotation), entry(sbom, mediaSPDX), entry(bundle, mediaBundle))
}

// A written is a manifest that was written.
type written struct {
	mediaType string
	digest    v1.Hash
	size      int64
}

// wire returns its descriptor.
func (m written) wire() map[string]any {
	return map[string]any{"mediaType": m.mediaType, "digest": m.digest.String(), "size": m.size}
}

// A writer writes through the Inventory that is tried.
type writer struct {
	t       *testing.T
	target  *SuiteTarget
	created map[string]bool
	wrote   map[v1.Hash]written
}

func newWriter(t *testing.T, target *SuiteTarget) *writer {
	return &writer{t: t, target: target, created: map[string]bool{}, wrote: map[v1.Hash]written{}}
}

// image writes an image that depends on seed. An empty ref stands for its
// digest.
func (w *writer) image(repository, ref, seed string) written {
	w.t.Helper()
	return w.manifest(repository, ref, map[string]any{}, mediaConfig, mediaLayer, seed)
}

// manifest adds config and one layer to fields.
func (w *writer) manifest(repository, ref string, fields map[string]any, config, layer, seed string) written {
	w.t.Helper()
	w.create(repository)
	fields["config"] = w.blob(repository, config, `{"seed":"`+seed+`"}`)
	fields["layers"] = []any{w.blob(repository, layer, "layer "+seed)}
	mediaType, _ := fields["mediaType"].(string)
	if mediaType == "" {
		mediaType = mediaManifest
	}
	return w.put(repository, ref, mediaType, fields)
}

func (w *writer) index(repository, ref string, children ...written) written {
	w.t.Helper()
	entries := make([]map[string]any, 0, len(children))
	for _, child := range children {
		entries = append(entries, child.wire())
	}
	return w.list(repository, ref, entries...)
}

func (w *writer) list(repository, ref string, entries ...map[string]any) written {
	w.t.Helper()
	return w.put(repository, ref, mediaIndex, map[string]any{"manifests": entries})
}

func (w *writer) create(repository string) {
	if !w.created[repository] {
		w.target.Create(w.t, repository)
		w.created[repository] = true
	}
}

// blob writes a blob and returns its descriptor.
func (w *writer) blob(repository, mediaType, content string) map[string]any {
	w.t.Helper()
	digest, err := w.target.Inventory.PutBlob(w.t.Context(), repository, []byte(content))
	if err != nil {
		w.t.Fatalf("writing a blob: %v", err)
	}
	return written{mediaType: mediaType, digest: digest, size: int64(len(content))}.wire()
}

func (w *writer) put(repository, ref, mediaType string, fields map[string]any) written {
	w.t.Helper()
	fields["schemaVersion"], fields["mediaType"] = 2, mediaType
	raw := encode(w.t, fields)
	if ref == "" {
		ref = describe(mediaType, raw).Digest.String()
	}
	digest, err := w.target.Inventory.PutManifest(w.t.Context(), repository, ref, mediaType, raw)
	if err != nil {
		w.t.Fatalf("writing a manifest: %v", err)
	}
	m := written{mediaType: mediaType, digest: digest, size: int64(len(raw))}
	w.wrote[digest] = m
	return m
}

func (w *writer) delete(repository string, digest v1.Hash) {
	w.t.Helper()
	if err := w.target.Inventory.Delete(w.t.Context(), repository, digest); err != nil {
		w.t.Fatalf("deleting a manifest: %v", err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
