package signature

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/registry"
)

// signLikeCosign appends a signature in the way that cosign up to 2.6 does. It
// drops what it does not know, and it walks the diff_ids of the config.
func signLikeCosign(st *memory, s Subject, payload, sig []byte) error {
	repository, tag := s.Repository, CosignTag(s.Digest)
	from, err := st.find(repository, tag)
	core := &stored{st, repository, from}
	if err != nil {
		core = nothingSigned()
	}
	base, err := partial.CompressedToImage(core)
	if err != nil {
		return err
	}
	img, err := mutate.Append(base, mutate.Addendum{
		Layer:       static.NewLayer(payload, mediaTypeSimpleSigning),
		Annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	})
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	for _, d := range config.RootFS.DiffIDs {
		if _, err := img.LayerByDiffID(d); err != nil {
			return err
		}
	}
	rawConfig, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	st.foreignBlob(repository, payload)
	st.foreignBlob(repository, rawConfig)
	mediaType, err := img.MediaType()
	if err != nil {
		return err
	}
	_, err = st.put(repository, tag, string(mediaType), raw)
	return err
}

// nothingSigned is what cosign starts from.
func nothingSigned() *stored {
	st := newMemory()
	config := constantConfig(0)
	st.foreignBlob("", config)
	raw, _ := compose(nil, newConfig(config), nil)
	return &stored{st, "", registry.Manifest{Descriptor: registry.Descriptor{MediaType: ociManifest}, Raw: raw}}
}

// stored is an image in a memory, as go-containerregistry reads one.
type stored struct {
	st         *memory
	repository string
	registry.Manifest
}

func (i *stored) RawManifest() ([]byte, error) { return i.Raw, nil }
func (i *stored) MediaType() (types.MediaType, error) {
	return types.MediaType(i.Manifest.MediaType), nil
}

func (i *stored) RawConfigFile() ([]byte, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	return i.st.Blob(context.Background(), i.repository, m.Config.Digest, maxConfig)
}

func (i *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	content, err := i.st.Blob(context.Background(), i.repository, h, maxPayload)
	return static.NewLayer(content, mediaTypeSimpleSigning), err
}

func TestCosignCanAppendToOurs(t *testing.T) {
	st, s := newMemory(), image(1)
	c := &Cosign{Store: st}
	ours := []key{newKey(t), newKey(t), newKey(t)}
	theirs := []key{newKey(t), newKey(t), newKey(t)}
	for i := range ours {
		if _, err := sign(t, c, s, ours[i]); err != nil {
			t.Fatal(err)
		}
		// With a payload of their own and with ours.
		if err := signLikeCosign(st, s, Payload(s), theirs[i].sign(t, Payload(s))); err != nil {
			t.Fatalf("round %d: cosign's append fails: %v", i, err)
		}
		other := []byte(strings.Replace(string(Payload(s)), "null", fmt.Sprintf(`{"n":"%d"}`, i), 1))
		if err := signLikeCosign(st, s, other, theirs[i].sign(t, other)); err != nil {
			t.Fatalf("round %d: cosign's append fails: %v", i, err)
		}
	}
	mustBeSigned(t, st, s, append(ours, theirs...)...)
}
