package signature

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry"
)

const (
	// mediaTypeSimpleSigning marks a layer that is a cosign payload.
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	// annotationSignature is where a layer keeps its signature, in base64.
	annotationSignature = "dev.cosignproject.cosign/signature"

	// MaxLayers is how many layers a signature manifest may have: cosign
	// refuses to read or write more.
	MaxLayers = 1000

	// maxSignature bounds an encoded signature, in bytes: room for the largest
	// RSA and post-quantum ones.
	maxSignature = 16 << 10
)

// A manifest is a cosign signature manifest: one layer per signature. Fields
// that we do not know are kept as they are.
type manifest struct {
	mediaType string
	fields    object
	config    object
	layers    []layer
}

// A layer is one descriptor of a manifest. The manifest is written by anybody
// who may push, so a layer may be anything.
type layer struct {
	raw         json.RawMessage
	fault       error // why it is no descriptor; then only raw is set
	mediaType   string
	digest      v1.Hash
	size        int64
	annotations map[string]string
}

// parseManifest returns an error that wraps ErrForeign if m is no signature
// manifest, and ErrTooMany if it has more layers than are read.
func parseManifest(m registry.Manifest) (*manifest, error) {
	p, err := readManifest(m)
	if err != nil && !errors.Is(err, ErrTooMany) {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return p, err
}

func readManifest(m registry.Manifest) (*manifest, error) {
	if t := types.MediaType(m.MediaType); t != types.OCIManifestSchema1 && t != types.DockerManifestSchema2 {
		return nil, fmt.Errorf("its media type is %.80q", m.MediaType)
	}
	fields, err := parseObject(m.Raw)
	if err != nil {
		return nil, err
	}
	if v := fields.value("mediaType"); v != nil {
		if t, err := fields.text("mediaType"); err != nil || t != m.MediaType {
			return nil, fmt.Errorf("it says its media type is %.80s, the registry says %q", v, m.MediaType)
		}
	}
	var version int
	if err := fields.decode("schemaVersion", &version); err != nil || version != 2 {
		return nil, errors.New("its schemaVersion is not 2")
	}
	if fields.value("manifests") != nil {
		return nil, errors.New("it is an index")
	}
	config, err := parseObject(fields.value("config"))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	p := &manifest{mediaType: m.MediaType, fields: fields, config: config}
	if p.layers, err = parseLayers(fields.value("layers")); err != nil {
		return nil, err
	}
	return p, p.holdsSignatures()
}

func parseLayers(list json.RawMessage) ([]layer, error) {
	if list == nil {
		return nil, errors.New("it has no layers")
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(list, &raws); err != nil {
		return nil, errors.New("its layers are no list")
	}
	if len(raws) > MaxLayers {
		return nil, fmt.Errorf("%w: %d layers, at most %d are read", ErrTooMany, len(raws), MaxLayers)
	}
	layers := make([]layer, len(raws))
	for i, raw := range raws {
		layers[i] = parseLayer(raw)
	}
	return layers, nil
}

// holdsSignatures returns nil for a manifest to which a signature may be
// added: one that has a signature layer, or an image without any layer, in
// which nothing can be spoiled.
func (m *manifest) holdsSignatures() error {
	if slices.ContainsFunc(m.layers, func(l layer) bool { return l.mediaType == mediaTypeSimpleSigning }) {
		return nil
	}
	if len(m.layers) > 0 {
		return fmt.Errorf("none of its layers is of type %q", mediaTypeSimpleSigning)
	}
	if t := m.configType(); t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return fmt.Errorf("its config is of type %.80q", t)
	}
	return nil
}

// configType returns the config's media type, "" if it is no string.
func (m *manifest) configType() types.MediaType {
	t, err := m.config.text("mediaType")
	if err != nil {
		return ""
	}
	return types.MediaType(t)
}

func parseLayer(raw json.RawMessage) layer {
	l, err := readLayer(raw)
	if err != nil {
		return layer{raw: raw, fault: err}
	}
	return l
}

func readLayer(raw json.RawMessage) (layer, error) {
	o, err := parseObject(raw)
	if err != nil {
		return layer{}, err
	}
	l := layer{raw: raw}
	if l.mediaType, err = o.text("mediaType"); err != nil {
		return layer{}, err
	}
	digest, err := o.text("digest")
	if err != nil {
		return layer{}, err
	}
	if l.digest, err = v1.NewHash(digest); err != nil {
		return layer{}, fmt.Errorf("%.80q is no digest", digest)
	}
	return l, errors.Join(o.decode("size", &l.size), o.decode("annotations", &l.annotations))
}

// newLayer describes payload, signed.
func newLayer(digest v1.Hash, size int64, sig []byte) layer {
	l := layer{
		mediaType:   mediaTypeSimpleSigning,
		digest:      digest,
		size:        size,
		annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	}
	l.raw = encode(l.descriptor())
	return l
}

// A descriptor is written with its members in the order that cosign has them.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Size        int64             `json:"size"`
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (l layer) descriptor() descriptor {
	return descriptor{l.mediaType, l.size, l.digest.String(), l.annotations}
}

// key is equal for layers that say the same, however they are written.
func (l layer) key() string {
	if l.fault != nil {
		return string(l.raw)
	}
	return string(encode(l.descriptor()))
}

// signature returns the signature that the layer carries, or why it has none.
func (l layer) signature() ([]byte, error) {
	if l.fault != nil {
		return nil, l.fault
	}
	if l.mediaType != mediaTypeSimpleSigning {
		return nil, fmt.Errorf("its media type is %.80q", l.mediaType)
	}
	encoded, ok := l.annotations[annotationSignature]
	if !ok {
		return nil, errors.New("it has no signature annotation")
	}
	if len(encoded) > maxSignature {
		return nil, fmt.Errorf("its signature has more than %d bytes", maxSignature)
	}
	sig, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(sig) == 0 {
		return nil, errors.New("its signature is not base64")
	}
	return sig, nil
}
