package registry

// A Part is what a manifest names, as somebody tells it who has read the
// manifest: the config and then the layers of an image, the manifests of an
// index.
type Part struct{ MediaType, ArtifactType string }

// Hint tells from a media type and parts, without the manifest, whether there
// is a manifest of a kind that can be signed, and whether that is a signature
// as IsSignature says. What is told may be wrong.
func Hint(mediaType string, parts []Part) (manifest, signature bool) {
	entries := make([]entry, len(parts))
	for i, p := range parts {
		entries[i] = entry{MediaType: p.MediaType, ArtifactType: p.ArtifactType}
	}
	switch {
	case IsIndex(mediaType):
		return true, shape{Manifests: entries}.isSignature()
	case !isImage(mediaType):
		return false, false
	case len(entries) == 0:
		return true, false
	}
	return true, shape{Config: &entries[0], Layers: entries[1:]}.isSignature()
}

// ValidRepository reports whether a repository's full name, without the host,
// is one that the distribution specification allows, of at most 255 bytes.
func ValidRepository(repository string) bool { return checkRepository(repository) == nil }

// ValidTag reports whether a tag is one that the distribution specification
// allows.
func ValidTag(tag string) bool { return checkTag(tag) == nil }
