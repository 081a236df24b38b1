package registry

import (
	"strings"
	"testing"
)

// TestIndexOfImages: go-containerregistry writes the type of an image's config
// into the entries of an index. Such an index is to be signed; that of referrers
// is not.
func TestIndexOfImages(t *testing.T) {
	// As `crane index append` of v0.22.1 pushed it.
	const pushed = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":402,"digest":"sha256:b5dbeb157ece895344f411db9f09c51fadfdcaed7f0231836bb9933647bc4502",` +
		`"platform":{"architecture":"amd64","os":"linux"},"artifactType":"application/vnd.oci.image.config.v1+json"},` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":402,"digest":"sha256:c639db5cb1343b1000839d3e70a58784e4bc635d402275c2f121728fd47dcc65",` +
		`"platform":{"architecture":"arm64","os":"linux"},"artifactType":"application/vnd.oci.image.config.v1+json"}]}`
	for name, test := range map[string]struct {
		raw  string
		want bool
	}{
		"oci":       {pushed, false},
		"docker":    {strings.ReplaceAll(pushed, "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"), false},
		"none":      {strings.ReplaceAll(pushed, `,"artifactType":"application/vnd.oci.image.config.v1+json"`, ""), false},
		"one":       {strings.Replace(pushed, "application/vnd.oci.image.config.v1+json", bundlePrefix+".v0.3+json", 1), false},
		"referrers": {strings.ReplaceAll(pushed, "application/vnd.oci.image.config.v1+json", bundlePrefix+".v0.3+json"), true},
	} {
		if got := IsSignature(Manifest{Raw: []byte(test.raw)}); got != test.want {
			t.Errorf("%s: IsSignature is %v, want %v", name, got, test.want)
		}
	}
}

func TestHint(t *testing.T) {
	const (
		image, index  = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
		config, layer = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
		bundle        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	)
	parts := func(mediaTypes ...string) (p []Part) {
		for _, mediaType := range mediaTypes {
			p = append(p, Part{MediaType: mediaType})
		}
		return p
	}
	for name, test := range map[string]struct {
		mediaType           string
		parts               []Part
		manifest, signature bool
	}{
		"image":        {image, parts(config, layer), true, false},
		"unknown":      {image, nil, true, false},
		"docker":       {"application/vnd.docker.distribution.manifest.v2+json", parts("application/vnd.docker.container.image.v1+json", layer), true, false},
		"index":        {index, []Part{{MediaType: image}, {MediaType: image, ArtifactType: config}}, true, false},
		"fallback":     {index, []Part{{MediaType: image, ArtifactType: bundle}}, true, true},
		"cosign":       {image, parts(config, simpleSigning), true, true},
		"bundle":       {image, parts(emptyConfig, bundle), true, true},
		"notation":     {image, parts(notationSignature, "application/jose+json"), true, true},
		"attestation":  {image, parts(config, dsseEnvelope, dsseEnvelope), true, true},
		"mixed":        {image, parts(config, simpleSigning, layer), true, false},
		"layer":        {layer, nil, false, false},
		"octet-stream": {"application/octet-stream", parts(config, simpleSigning), false, false},
		"schema 1":     {"application/vnd.docker.distribution.manifest.v1+prettyjws", nil, false, false},
	} {
		if manifest, signature := Hint(test.mediaType, test.parts); manifest != test.manifest || signature != test.signature {
			t.Errorf("%s: manifest %v, signature %v; want %v, %v", name, manifest, signature, test.manifest, test.signature)
		}
	}
	if !ValidRepository("a/b-c_d.e") || ValidRepository("a/../b") || ValidRepository("A") || ValidRepository(strings.Repeat("a", 256)) {
		t.Error("repository names are not those of the specification")
	}
	if !ValidTag("v1.0_A-b") || ValidTag("") || ValidTag(".a") || ValidTag(strings.Repeat("a", 129)) {
		t.Error("tags are not those of the specification")
	}
}
