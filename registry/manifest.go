package registry

import (
	"context"
	"fmt"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Manifest reads a manifest. Its digest is computed, and compared with ref and
// with what the registry says; its media type is found as mediaType says.
func (c *Client) Manifest(ctx context.Context, repository, ref string) (Manifest, error) {
	m, err := c.get(ctx, repository, ref)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading %s: %w", refName(c.said, repository, ref), err)
	}
	return m, nil
}

func (c *Client) get(ctx context.Context, repository, ref string) (Manifest, error) {
	call, want, err := c.manifestCall(http.MethodGet, repository, ref)
	if err != nil {
		return Manifest{}, err
	}
	raw, resp, err := c.read(ctx, call)
	if err != nil {
		return Manifest{}, err
	}
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" {
		digest, err := v1.NewHash(said)
		if err != nil {
			return Manifest{}, fmt.Errorf("registry says digest %q: %w", plain(said), ErrCorrupt)
		}
		if _, err := checkDigest(raw, digest); err != nil {
			return Manifest{}, err
		}
		if want == (v1.Hash{}) {
			want = digest
		}
	}
	return newManifest(raw, resp.Header.Get("Content-Type"), want)
}

// PutManifest writes raw under ref, a tag or its own digest. If the registry
// misses blobs that we thought were there, we think so no more: the caller,
// who gets ErrRejected, may write them again and retry.
func (c *Client) PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	digest, err := c.putManifest(ctx, repository, ref, mediaType, raw)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing %s: %w", refName(c.said, repository, ref), err)
	}
	return digest, nil
}

func (c *Client) putManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	call, want, err := c.manifestCall(http.MethodPut, repository, ref)
	if err != nil {
		return v1.Hash{}, err
	}
	if len(raw) > MaxManifest {
		return v1.Hash{}, fmt.Errorf("manifest of %d bytes, at most %d are written: %w", len(raw), MaxManifest, ErrTooLarge)
	}
	digest, err := checkDigest(raw, want)
	if err != nil {
		return v1.Hash{}, err
	}
	call.header = http.Header{"Content-Type": {mediaType}}
	call.body = raw
	resp, err := c.do(ctx, call)
	if err != nil {
		if refusedWith(err, ggcr.ManifestBlobUnknownErrorCode, ggcr.BlobUnknownErrorCode) {
			c.known.drop(func(p place) bool { return p.repository == repository })
		}
		return v1.Hash{}, err
	}
	discard(resp)
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != digest.String() {
		return v1.Hash{}, fmt.Errorf("registry says digest %q, want %s: %w", plain(said), digest, ErrCorrupt)
	}
	return digest, nil
}
