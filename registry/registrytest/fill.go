package registrytest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Fill writes an estate straight into the storage directory of a distribution
// registry, much faster than it could be pushed: repos repositories
// (team-NN/app-NNNN) with tags tags (v0, v1, …) each, every tag its own manifest
// over one shared config and layer. It returns REPOSITORY@DIGEST for each.
func Fill(root string, repos, tags int) ([]string, error) {
	f := filler{root: filepath.Join(root, "docker/registry/v2")}
	layer := f.blob([]byte("an empty layer"))
	config := f.blob([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + layer.Digest + `"]}}`))
	layer.MediaType, config.MediaType = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.config.v1+json"
	var out []string
	for r := range repos {
		repo := fmt.Sprintf("team-%02d/app-%04d", r%20, r)
		dir := filepath.Join(f.root, "repositories", repo)
		f.link(filepath.Join(dir, "_layers/sha256", layer.hex(), "link"), layer.Digest)
		f.link(filepath.Join(dir, "_layers/sha256", config.hex(), "link"), config.Digest)
		for t := range tags {
			raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
				"config": config, "layers": []any{layer}, "annotations": map[string]string{"org.opencontainers.image.ref.name": fmt.Sprintf("%s:v%d", repo, t)}})
			if err != nil {
				return nil, err
			}
			m := f.blob(raw)
			manifests := filepath.Join(dir, "_manifests")
			f.link(filepath.Join(manifests, "revisions/sha256", m.hex(), "link"), m.Digest)
			f.link(filepath.Join(manifests, fmt.Sprintf("tags/v%d/current/link", t)), m.Digest)
			f.link(filepath.Join(manifests, fmt.Sprintf("tags/v%d/index/sha256", t), m.hex(), "link"), m.Digest)
			out = append(out, repo+"@"+m.Digest)
		}
	}
	return out, f.err
}

// descriptor is an OCI descriptor as JSON has it.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

func (d descriptor) hex() string { return strings.TrimPrefix(d.Digest, "sha256:") }

// A filler writes files and keeps the first error.
type filler struct {
	root string
	err  error
}

func (f *filler) blob(content []byte) descriptor {
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	f.write(filepath.Join(f.root, "blobs/sha256", name[:2], name, "data"), content)
	return descriptor{Digest: "sha256:" + name, Size: len(content)}
}

func (f *filler) link(path, digest string) { f.write(path, []byte(digest)) }

func (f *filler) write(path string, content []byte) {
	if f.err != nil {
		return
	}
	if f.err = os.MkdirAll(filepath.Dir(path), 0o755); f.err == nil {
		f.err = os.WriteFile(path, content, 0o644)
	}
}
