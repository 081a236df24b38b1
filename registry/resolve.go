package registry

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Resolve asks by HEAD what ref names. Registries that leave out a part of
// the answer, or do not know HEAD, are asked by GET, and the digest is
// computed.
func (c *Client) Resolve(ctx context.Context, repository, ref string) (Descriptor, error) {
	d, err := c.head(ctx, repository, ref)
	if errors.Is(err, errIncomplete) || errors.Is(err, ErrUnsupported) {
		var m Manifest
		m, err = c.get(ctx, repository, ref)
		d = m.Descriptor
	}
	if err != nil {
		return Descriptor{}, fmt.Errorf("resolving %s: %w", refName(c.said, repository, ref), err)
	}
	return d, nil
}

// errIncomplete says that HEAD told less than a descriptor.
var errIncomplete = errors.New("answer to HEAD is incomplete")

func (c *Client) head(ctx context.Context, repository, ref string) (Descriptor, error) {
	call, want, err := c.manifestCall(http.MethodHead, repository, ref)
	if err != nil {
		return Descriptor{}, err
	}
	resp, err := c.do(ctx, call)
	if err != nil {
		return Descriptor{}, err
	}
	discard(resp)
	digest, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return Descriptor{}, errIncomplete
	}
	if want != (v1.Hash{}) && digest != want {
		return Descriptor{}, fmt.Errorf("registry says digest %s: %w", digest, ErrCorrupt)
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || !isManifest(mediaType) || resp.ContentLength < 0 {
		return Descriptor{}, errIncomplete
	}
	return Descriptor{MediaType: mediaType, Digest: digest, Size: resp.ContentLength}, nil
}

// manifestCall returns the call for a manifest, and the digest if ref is one.
func (c *Client) manifestCall(method, repository, ref string) (call, v1.Hash, error) {
	if err := checkRepository(repository); err != nil {
		return call{}, v1.Hash{}, err
	}
	digest, _, err := parseRef(ref)
	if err != nil {
		return call{}, v1.Hash{}, err
	}
	return call{
		method: method,
		url:    c.url("/v2/"+repository+"/manifests/"+ref, nil),
		scope:  repository,
		header: http.Header{"Accept": {acceptManifests}},
		limit:  MaxManifest,
	}, digest, nil
}
