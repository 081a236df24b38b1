package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// children walks an index and returns what it saw, one line each.
func children(t *testing.T, s Store, index Manifest, limits IndexLimits) (seen []v1.Hash, end error) {
	t.Helper()
	for d, err := range Children(t.Context(), s, "app", index, limits) {
		if d.Digest == (v1.Hash{}) {
			return seen, err
		}
		if err != nil {
			end = err
		}
		seen = append(seen, d.Digest)
	}
	return seen, end
}

func TestChildren(t *testing.T) {
	c := client(t, config(serve(t, inMemory())))
	a, b, attestation := pushImage(t, c, "app", "", "a"), pushImage(t, c, "app", "", "b"), pushImage(t, c, "app", "", "attestation")
	inner := pushIndex(t, c, "app", "", b, a)
	raw := strings.ReplaceAll(string(encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []any{
		wire(describe(ociManifest, a.Raw)), wire(describe(ociManifest, a.Raw)), wire(describe(ociIndex, inner.Raw)),
		map[string]any{
			"mediaType": ociManifest, "digest": attestation.Digest.String(), "size": attestation.Size,
			"platform": map[string]string{"os": "unknown", "architecture": "unknown"},
			"annotations": map[string]string{
				"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": a.Digest.String(),
			},
		},
	}})), "\n", "")
	outer := put(t, c, "app", "multi", ociIndex, []byte(raw))
	sent := counts(c)
	seen, err := children(t, c, outer, IndexLimits{})
	wants(t, err, nil, "walk")
	want(t, seen, []v1.Hash{a.Digest, inner.Digest, b.Digest, attestation.Digest}, "children, each once")
	want(t, sent(), map[string]int64{"GET 200": 1}, "requests: only nested indexes are read")

	_, err = children(t, c, outer, IndexLimits{Depth: 1})
	wants(t, err, ErrTooLarge, "too deep")
	seen, err = children(t, c, outer, IndexLimits{Manifests: 3})
	wants(t, err, ErrTooLarge, "too many")
	want(t, len(seen), 3, "children before it was too much")
	_, err = children(t, c, outer, IndexLimits{Manifests: 4, Depth: 2})
	wants(t, err, nil, "just enough")
	_, err = children(t, c, a, IndexLimits{})
	wants(t, err, ErrCorrupt, "an image is no index")
	for range Children(t.Context(), c, "app", outer, IndexLimits{}) {
		break
	}
}

func TestChildrenOfBadIndexes(t *testing.T) {
	c := client(t, config(serve(t, inMemory())))
	a := pushImage(t, c, "app", "", "a")
	b := pushImage(t, c, "app", "", "b")
	index := func(entries ...map[string]any) Manifest {
		raw := encode(t, map[string]any{"schemaVersion": 2, "manifests": entries})
		return Manifest{Descriptor: Descriptor{MediaType: ociIndex, Digest: sum(raw)}, Raw: raw}
	}
	missing := sum([]byte("missing"))
	entryOf := func(mediaType string, digest v1.Hash) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digest.String()}
	}
	seen, err := children(t, c, index(entryOf(ociIndex, missing), entryOf(ociManifest, a.Digest)), IndexLimits{})
	wants(t, err, ErrNotFound, "nested index that is missing")
	want(t, seen, []v1.Hash{missing, a.Digest}, "the others are seen")
	seen, err = children(t, c, index(entryOf(ociIndex, b.Digest), entryOf(ociManifest, a.Digest)), IndexLimits{})
	wants(t, err, ErrCorrupt, "image that is called an index")
	want(t, seen, []v1.Hash{b.Digest, a.Digest}, "the others are seen")
	_, err = children(t, c, index(map[string]any{"mediaType": ociManifest, "digest": "sha256:1"}), IndexLimits{})
	wants(t, err, ErrCorrupt, "bad digest")
	_, err = children(t, c, Manifest{Descriptor: Descriptor{MediaType: ociIndex}, Raw: []byte("<")}, IndexLimits{})
	wants(t, err, ErrCorrupt, "no JSON")

	var many []map[string]any
	for i := range 1001 {
		many = append(many, entryOf(ociManifest, sum([]byte(fmt.Sprint(i)))))
	}
	_, err = children(t, c, index(many...), IndexLimits{})
	wants(t, err, ErrTooLarge, "1,001 manifests")
	_, err = children(t, c, index(many[:1000]...), IndexLimits{})
	wants(t, err, nil, "1,000 manifests")

	nested := a
	for depth := range 5 {
		_, err := children(t, c, nested, IndexLimits{})
		if depth > 0 && err != nil {
			t.Errorf("%d deep: %v", depth, err)
		}
		nested = pushIndex(t, c, "app", "", nested)
	}
	if _, err := children(t, c, nested, IndexLimits{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5 deep: %v", err)
	}
}
