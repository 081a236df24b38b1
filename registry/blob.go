package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Blob reads a blob, from the registry or from where its storage is.
func (c *Client) Blob(ctx context.Context, repository string, digest v1.Hash, limit int64) ([]byte, error) {
	raw, err := c.blob(ctx, repository, digest, limit)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", refName(c.said, repository, digest.String()), err)
	}
	return raw, nil
}

func (c *Client) blob(ctx context.Context, repository string, digest v1.Hash, limit int64) ([]byte, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	if _, _, err := parseRef(digest.String()); err != nil {
		return nil, err
	}
	raw, _, err := c.read(ctx, call{
		method:  http.MethodGet,
		url:     c.url("/v2/"+repository+"/blobs/"+digest.String(), nil),
		scope:   repository,
		limit:   limit,
		storage: true,
	})
	if err != nil {
		return nil, err
	}
	if _, err := checkDigest(raw, digest); err != nil {
		return nil, err
	}
	return raw, nil
}

// PutBlob writes a blob in two requests, or none if it is known to be there.
// Goroutines that write the same blob at once send it once.
func (c *Client) PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error) {
	at := place{repository: repository, digest: sum(content)}
	if err := c.putBlob(ctx, at, content); err != nil {
		return v1.Hash{}, fmt.Errorf("writing blob %s: %w", refName(c.said, repository, at.digest.String()), err)
	}
	return at.digest, nil
}

func (c *Client) putBlob(ctx context.Context, at place, content []byte) error {
	if err := checkRepository(at.repository); err != nil {
		return err
	}
	if _, known := c.known.get(at); known {
		return nil
	}
	done, err := c.uploads.Take(ctx, at.repository+"@"+at.digest.Hex)
	if err != nil {
		return err
	}
	defer done()
	if _, known := c.known.get(at); known {
		return nil
	}
	err = c.upload(ctx, at, content)
	if errors.Is(err, errUploadLost) { // by a retried PUT whose first answer got lost, for one
		err = c.upload(ctx, at, content)
	}
	if err != nil {
		return err
	}
	c.known.put(at, struct{}{})
	return nil
}

// errUploadLost says that the registry does not know the upload it began.
var errUploadLost = errors.New("upload lost")

func (c *Client) upload(ctx context.Context, at place, content []byte) error {
	begin := call{
		method: http.MethodPost,
		url:    c.url("/v2/"+at.repository+"/blobs/uploads/", nil),
		scope:  at.repository,
		limit:  maxErrorBody,
	}
	resp, err := c.do(ctx, begin)
	if err != nil {
		return err
	}
	discard(resp)
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusAccepted || location == "" {
		return fmt.Errorf("registry did not begin an upload: %d %s: %w",
			resp.StatusCode, http.StatusText(resp.StatusCode), ErrCorrupt)
	}
	to, err := c.homeURL(begin.url, location)
	if err != nil {
		return fmt.Errorf("place to upload to: %w", err)
	}
	query := "digest=" + url.QueryEscape(at.digest.String())
	if to.RawQuery != "" { // kept as it is: it may be signed
		query = to.RawQuery + "&" + query
	}
	to.RawQuery = query
	resp, err = c.do(ctx, call{
		method: http.MethodPut,
		url:    to,
		scope:  at.repository,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		body:   content,
		limit:  maxErrorBody,
	})
	if refusedWith(err, ggcr.BlobUploadUnknownErrorCode, ggcr.BlobUploadInvalidErrorCode) {
		return fmt.Errorf("%w: %w", errUploadLost, err)
	}
	if err != nil {
		return err
	}
	discard(resp)
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != at.digest.String() {
		return fmt.Errorf("registry says digest %q: %w", plain(said), ErrCorrupt)
	}
	return nil
}
