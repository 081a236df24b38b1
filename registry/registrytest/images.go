package registrytest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image returns a new small OCI image, different from all others.
func Image(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(128, 1)
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
}

// Index returns an OCI index of the given manifests, which may be indexes.
func Index(t testing.TB, children ...mutate.Appendable) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, c := range children {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: c})
	}
	return index
}

// Push writes an image or index to ref, REPOSITORY:TAG or REPOSITORY@DIGEST,
// and returns its digest. An empty tag after the colon pushes by digest.
func (s *Server) Push(t testing.TB, ref string, what remote.Taggable) v1.Hash {
	t.Helper()
	digest := Digest(t, what)
	if ref[len(ref)-1] == ':' {
		ref = ref[:len(ref)-1] + "@" + digest.String()
	}
	r, err := name.ParseReference(s.Host+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch v := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(r, v)
	case v1.Image:
		err = remote.Write(r, v)
	default:
		t.Fatalf("pushing a %T", what)
	}
	if err != nil {
		t.Fatalf("pushing %s: %v", ref, err)
	}
	return digest
}

// Tag makes REPOSITORY:TAG name an image that is already there.
func (s *Server) Tag(t testing.TB, ref string, what remote.Taggable) {
	t.Helper()
	tag, err := name.NewTag(s.Host+"/"+ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Tag(tag, what); err != nil {
		t.Fatalf("tagging %s: %v", ref, err)
	}
}

// Digest returns the digest of an image or index.
func Digest(t testing.TB, what remote.Taggable) v1.Hash {
	t.Helper()
	d, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Signatures returns how many cosign signatures the digest has in repository.
func (s *Server) Signatures(t testing.TB, repository string, digest v1.Hash) int {
	t.Helper()
	ref, err := name.ParseReference(s.Host+"/"+repository+":"+digest.Algorithm+"-"+digest.Hex+".sig", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(ref, remote.WithContext(context.Background()))
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(got.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	return len(m.Layers)
}

// Layout writes an OCI layout with two tagged and two untagged images to dir.
func Layout(t testing.TB, dir string) (tagged, untagged []v1.Hash) {
	t.Helper()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2", "", ""} {
		img := Image(t)
		if tag == "" {
			untagged = append(untagged, Digest(t, img))
			err = p.AppendImage(img)
		} else {
			tagged = append(tagged, Digest(t, img))
			err = p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tagged, untagged
}

// CopyTag makes tag to of a repository name what tag from names, byte for byte.
func CopyTag(t testing.TB, s *Server, repository, from, to string) {
	t.Helper()
	ref, err := name.ParseReference(s.Host+"/"+repository+":"+from, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	s.Tag(t, repository+":"+to, got)
}
