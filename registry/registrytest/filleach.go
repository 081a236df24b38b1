package registrytest

import (
	"fmt"
	"testing"
)

// FillEach writes repos repositories (team-NN/app-NNNN) with tags tags each to
// the registry, past its door, each tag a manifest of its own.
func (f cloudFiller) FillEach(t *testing.T, repos, tags int) {
	t.Helper()
	s := &Server{handler: f.registry}
	for r := range repos {
		repository := fmt.Sprintf("%steam-%02d/app-%04d", f.prefix, r%20, r)
		for i := range tags {
			s.put(t, repository, fmt.Sprintf("v%d", i), encode(t, map[string]any{
				"schemaVersion": 2, "mediaType": mediaManifest, "layers": []any{},
				"config":      descriptor{MediaType: mediaConfig, Digest: "sha256:" + sigV4Digest(nil)},
				"annotations": map[string]string{"n": fmt.Sprintf("%s:%d", repository, i)},
			}))
		}
	}
}
