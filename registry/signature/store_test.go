package signature

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry"
)

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// memory is a registry.Store that behaves as a client and a registry do
// together: content is kept by its digest, a manifest whose blobs are missing
// is rejected, and blobs that the client knows to be there are not sent again.
type memory struct {
	mu        sync.Mutex
	blobs     map[string][]byte // :: repository@digest → content, on the registry
	manifests map[string]registry.Manifest
	tags      map[string]string // :: repository:tag → digest
	known     map[string]bool   // what the client believes is on the registry
	requests  map[string]int    // :: verb → how many requests it took

	beforePut, afterPut func() // called without the lock around our PutManifest
	failBlob            error  // what reading a blob fails with
	failRead            error  // what reading a manifest fails with
	failPut             error  // what writing a manifest fails with
	missing             error  // what a manifest fails with whose blobs are missing
}

func newMemory() *memory {
	return &memory{
		blobs: map[string][]byte{}, manifests: map[string]registry.Manifest{},
		tags: map[string]string{}, known: map[string]bool{}, requests: map[string]int{},
		missing: registry.ErrRejected,
	}
}

func (m *memory) find(repository, ref string) (registry.Manifest, error) {
	if d, ok := m.tags[repository+":"+ref]; ok {
		ref = d
	}
	found, ok := m.manifests[repository+"@"+ref]
	if !ok {
		return registry.Manifest{}, fmt.Errorf("%s in %s: %w", ref, repository, registry.ErrNotFound)
	}
	return found, nil
}

func (m *memory) Resolve(ctx context.Context, repository, ref string) (registry.Descriptor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["HEAD manifest"]++
	found, err := m.find(repository, ref)
	return found.Descriptor, errors.Join(err, ctx.Err())
}

func (m *memory) Manifest(ctx context.Context, repository, ref string) (registry.Manifest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["GET manifest"]++
	if m.failRead != nil {
		return registry.Manifest{}, m.failRead
	}
	found, err := m.find(repository, ref)
	return found, errors.Join(err, ctx.Err())
}

func (m *memory) Blob(ctx context.Context, repository string, d v1.Hash, limit int64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["GET blob"]++
	content, ok := m.blobs[repository+"@"+d.String()]
	switch {
	case m.failBlob != nil:
		return nil, m.failBlob
	case !ok:
		return nil, registry.ErrNotFound
	case int64(len(content)) > limit:
		return nil, registry.ErrTooLarge
	}
	return content, ctx.Err()
}

func (m *memory) PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := hash(content)
	key := repository + "@" + d.String()
	if !m.known[key] {
		m.requests["POST blob"]++
		m.requests["PUT blob"]++
		m.blobs[key] = slices.Clone(content)
		m.known[key] = true
	}
	return d, ctx.Err()
}

func (m *memory) PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	if m.beforePut != nil {
		m.beforePut()
	}
	d, err := m.put(repository, ref, mediaType, raw)
	if err == nil && m.afterPut != nil {
		m.afterPut()
	}
	return d, errors.Join(err, ctx.Err())
}

func (m *memory) put(repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests["PUT manifest"]++
	if m.failPut != nil {
		return v1.Hash{}, m.failPut
	}
	var p v1.Manifest
	if err := json.Unmarshal(raw, &p); err != nil {
		return v1.Hash{}, fmt.Errorf("%w: %w", registry.ErrRejected, err)
	}
	for _, l := range append(p.Layers, p.Config) {
		if _, ok := m.blobs[repository+"@"+l.Digest.String()]; !ok {
			m.known = map[string]bool{}
			return v1.Hash{}, fmt.Errorf("%w: blob %s is unknown", m.missing, l.Digest)
		}
	}
	d := hash(raw)
	m.tag(repository, ref, mediaType, raw)
	return d, nil
}

// tag stores a manifest as it is, without any check. The caller has the lock,
// or is alone.
func (m *memory) tag(repository, ref, mediaType string, raw []byte) {
	d := hash(raw)
	m.manifests[repository+"@"+d.String()] = registry.Manifest{
		Descriptor: registry.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))},
		Raw:        slices.Clone(raw),
	}
	m.tags[repository+":"+ref] = d.String()
}

// foreignBlob stores a blob that the client knows nothing of.
func (m *memory) foreignBlob(repository string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[repository+"@"+hash(content).String()] = content
}

// cost returns the requests since the last call.
func (m *memory) cost() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := maps.Clone(m.requests)
	clear(m.requests)
	return out
}

// key is a signing key made with nothing but the standard library.
type key struct{ private *ecdsa.PrivateKey }

func newKey(t testing.TB) key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{private}
}

func (k key) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (k key) Verify(message, signature []byte) error {
	sum := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(&k.private.PublicKey, sum[:], signature) {
		return errors.New("no")
	}
	return nil
}

// image returns a subject that is one of many images of one repository.
func image(n int) Subject {
	return Subject{
		Repository: "library/app",
		Digest:     hash(fmt.Appendf(nil, "image %d", n)),
		Identity:   "registry.example.com/library/app",
	}
}

// manifestOf returns an OCI manifest with these layers.
func manifestOf(layers ...layer) []byte {
	raw, _ := compose(nil, newConfig([]byte("{}")), plan(nil, nil, layers))
	return raw
}

// layerOf describes a signed payload, which need not be anywhere.
func layerOf(payload, sig []byte) layer {
	return newLayer(hash(payload), int64(len(payload)), sig)
}
