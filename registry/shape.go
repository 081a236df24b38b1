package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// acceptManifests is sent whenever a manifest is asked for, so that the
// registry converts nothing.
var acceptManifests = strings.Join([]string{
	string(types.OCIManifestSchema1), string(types.OCIImageIndex),
	string(types.DockerManifestSchema2), string(types.DockerManifestList),
}, ", ")

// A shape is what of a manifest tells what it is.
type shape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *entry          `json:"config"`
	Layers        []entry         `json:"layers"`
	Manifests     []entry         `json:"manifests"`
	Subject       json.RawMessage `json:"subject"`
}

// An entry is a descriptor inside a manifest.
type entry struct {
	MediaType    string `json:"mediaType"`
	Digest       string `json:"digest"`
	Size         int64  `json:"size"`
	ArtifactType string `json:"artifactType"`
}

func parseShape(raw []byte) (shape, error) {
	var s shape
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '{' {
		return s, fmt.Errorf("manifest is no JSON object: %w", ErrCorrupt)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("manifest: %w: %s", ErrCorrupt, plain(err.Error()))
	}
	return s, nil
}

func (s shape) isImage() bool { return s.Config != nil || s.Layers != nil }
func (s shape) isIndex() bool { return s.Manifests != nil }

// mediaType decides what a manifest is: what it says itself, else what its
// sender said, else what it looks like. A manifest that one reader may take
// for an image and another for an index is refused, as is one that
// contradicts its own media type: signing it would sign something else for
// each of them.
func (s shape) mediaType(said string) (string, error) {
	if s.SchemaVersion == 1 {
		return "", fmt.Errorf("manifest of schema version 1: %w", ErrUnsupported)
	}
	if s.isImage() && s.isIndex() {
		return "", fmt.Errorf("manifest has layers and manifests: %w", ErrCorrupt)
	}
	if s.MediaType != "" {
		if s.contradicts(s.MediaType) {
			return "", fmt.Errorf("manifest is no %q, as it says: %w", plain(s.MediaType), ErrCorrupt)
		}
		return s.MediaType, nil
	}
	if parsed, _, err := mime.ParseMediaType(said); err == nil && isManifest(parsed) && !s.contradicts(parsed) {
		return parsed, nil
	}
	switch {
	case s.isIndex():
		return string(types.OCIImageIndex), nil
	case s.isImage():
		return string(types.OCIManifestSchema1), nil
	default:
		return "", fmt.Errorf("manifest of no known kind: %w", ErrCorrupt)
	}
}

func (s shape) contradicts(mediaType string) bool {
	return IsIndex(mediaType) && s.isImage() || isImage(mediaType) && s.isIndex()
}

// IsIndex reports whether a media type is that of an OCI index or a docker
// manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == string(types.OCIImageIndex) || mediaType == string(types.DockerManifestList)
}

func isImage(mediaType string) bool {
	return mediaType == string(types.OCIManifestSchema1) || mediaType == string(types.DockerManifestSchema2)
}

func isManifest(mediaType string) bool { return IsIndex(mediaType) || isImage(mediaType) }

// newManifest checks that raw has the digest, if one is given, and finds out
// what it is. said is the media type that came with it.
func newManifest(raw []byte, said string, digest v1.Hash) (Manifest, error) {
	digest, err := checkDigest(raw, digest)
	if err != nil {
		return Manifest{}, err
	}
	s, err := parseShape(raw)
	if err != nil {
		return Manifest{}, err
	}
	mediaType, err := s.mediaType(said)
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{
		Descriptor: Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(raw))},
		Raw:        raw,
	}, nil
}

// checkDigest returns want if raw has it. The zero Hash asks for SHA-256.
func checkDigest(raw []byte, want v1.Hash) (v1.Hash, error) {
	if want == (v1.Hash{}) {
		return sum(raw), nil
	}
	hasher, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("digest %s: %w", plain(want.String()), ErrUnsupported)
	}
	_, _ = hasher.Write(raw) // never fails
	if got := hex.EncodeToString(hasher.Sum(nil)); got != want.Hex {
		return v1.Hash{}, fmt.Errorf("content has digest %s:%s, want %s: %w", want.Algorithm, got, want, ErrCorrupt)
	}
	return want, nil
}

func sum(raw []byte) v1.Hash {
	digest := sha256.Sum256(raw)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest[:])}
}
