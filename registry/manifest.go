package registry

import (
	"context"
	"errors"
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
	digest, _, err := c.putManifest(ctx, repository, ref, mediaType, raw)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing %s: %w", refName(c.said, repository, ref), err)
	}
	return digest, nil
}

// putReferrer implements referrersAPI.
func (c *Client) putReferrer(ctx context.Context, repository, digest, mediaType string, raw []byte) (listed string, err error) {
	_, answer, err := c.putManifest(ctx, repository, digest, mediaType, raw)
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", refName(c.said, repository, digest), err)
	}
	return answer.Get("OCI-Subject"), nil
}

// putManifest returns the digest and the answer's header.
func (c *Client) putManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, http.Header, error) {
	call, want, err := c.manifestCall(http.MethodPut, repository, ref)
	if err != nil {
		return v1.Hash{}, nil, err
	}
	if len(raw) > MaxManifest {
		return v1.Hash{}, nil, fmt.Errorf("manifest of %d bytes, at most %d are written: %w", len(raw), MaxManifest, ErrTooLarge)
	}
	digest, err := checkDigest(raw, want)
	if err != nil {
		return v1.Hash{}, nil, err
	}
	call.header = http.Header{"Content-Type": {mediaType}}
	call.body = raw
	resp, err := c.do(ctx, call)
	if err != nil {
		if refusedWith(err, ggcr.ManifestBlobUnknownErrorCode, ggcr.BlobUnknownErrorCode) {
			c.known.drop(func(p place) bool { return p.repository == repository })
		}
		return v1.Hash{}, nil, err
	}
	discard(resp)
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != digest.String() {
		return v1.Hash{}, nil, fmt.Errorf("registry says digest %q, want %s: %w", plain(said), digest, ErrCorrupt)
	}
	return digest, resp.Header, nil
}

// A Deleter is a Store that can delete manifests.
type Deleter interface {
	// Delete deletes a manifest and the tags that name it, as far as the
	// registry does the latter. One that is not there is no error. Registries
	// that delete nothing are ErrUnsupported. Blobs stay.
	Delete(ctx context.Context, repository string, digest v1.Hash) error
}

var _ Deleter = (*Client)(nil)

// Delete implements Deleter.
func (c *Client) Delete(ctx context.Context, repository string, digest v1.Hash) error {
	if err := c.delete(ctx, repository, digest); err != nil {
		return fmt.Errorf("deleting %s: %w", refName(c.said, repository, digest.String()), err)
	}
	return nil
}

func (c *Client) delete(ctx context.Context, repository string, digest v1.Hash) error {
	call, _, err := c.manifestCall(http.MethodDelete, repository, digest.String())
	if err != nil {
		return err
	}
	call.scope, call.limit = deletePrefix+repository, maxErrorBody
	resp, err := c.do(ctx, call)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case refusedWith(err, ggcr.UnsupportedErrorCode):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case err != nil:
		return err
	}
	discard(resp)
	return nil
}
