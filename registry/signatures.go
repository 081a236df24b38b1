package registry

import (
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types of signatures and attestations.
const (
	bundlePrefix      = "application/vnd.dev.sigstore.bundle" // .v0.3+json and others
	notationSignature = "application/vnd.cncf.notary.signature"
	cosignArtifact    = "application/vnd.dev.cosign.artifact." // sig.v1+json, att.v1+json
	simpleSigning     = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope      = "application/vnd.dsse.envelope.v1+json"
)

// IsSignature reports whether a manifest is a signature or an attestation,
// anybody's, and so no candidate for a signature: by its artifact type, by its
// config's media type where that says the type, or because all of its layers
// are signatures. Fallback indexes, which list such manifests and others that
// refer to a subject, count as signatures too.
func IsSignature(m Manifest) bool {
	s, err := parseShape(m.Raw)
	return err == nil && s.isSignature()
}

func (s shape) isSignature() bool {
	if s.isIndex() {
		return s.isFallback()
	}
	if s.ArtifactType != "" && s.ArtifactType != string(types.OCIConfigJSON) {
		return isSignatureType(s.ArtifactType)
	}
	if s.Config != nil && isSignatureType(s.Config.MediaType) {
		return true
	}
	return len(s.Layers) > 0 && !slices.ContainsFunc(s.Layers, func(layer entry) bool {
		return layer.MediaType != simpleSigning && layer.MediaType != dsseEnvelope &&
			!strings.HasPrefix(layer.MediaType, bundlePrefix)
	})
}

// isFallback reports an index of referrers, as registries without a referrers
// API carry it: each entry says its artifact type. Those of images say none, or
// that of an image's config, as go-containerregistry and what is built on it do.
func (s shape) isFallback() bool {
	return len(s.Manifests) > 0 && !slices.ContainsFunc(s.Manifests, func(e entry) bool {
		return e.ArtifactType == "" || e.ArtifactType == string(types.OCIConfigJSON) ||
			e.ArtifactType == string(types.DockerConfigJSON)
	})
}

func isSignatureType(mediaType string) bool {
	return mediaType == notationSignature || strings.HasPrefix(mediaType, bundlePrefix) ||
		strings.HasPrefix(mediaType, cosignArtifact)
}
