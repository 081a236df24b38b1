package kms

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	gcpkms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
)

// A gcpClient asks Google Cloud KMS.
type gcpClient struct {
	store *Store
	sdk   *gcpkms.KeyManagementClient
	login *gcpLogin
}

func newGCPClient(ctx context.Context, store *Store) (*gcpClient, error) {
	if file := store.config.Auth.ConfigFile; store.config.Auth != (Auth{ConfigFile: file}) {
		return nil, errors.New("auth of the key store has a field that gcpkms does not use; allowed: config_file")
	}
	login := &gcpLogin{client: store.client(), file: store.config.Auth.ConfigFile}
	sender := store.client()
	sender.Transport = gcpTransport{sender.Transport, login}
	options := []option.ClientOption{option.WithHTTPClient(sender)}
	if store.config.Endpoint != "" {
		at, err := endpointURL(ofStore, store.config.Endpoint)
		if err != nil {
			return nil, err
		}
		options = append(options, option.WithEndpoint(at.String()))
	}
	sdk, err := gcpkms.NewKeyManagementRESTClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	*sdk.CallOptions = gcpkms.KeyManagementCallOptions{} // no retries but ours
	return &gcpClient{store, sdk, login}, nil
}

// call is Store.call; it asks once more with new credentials if Google does not
// accept those that were used.
func (c *gcpClient) call(ctx context.Context, op string, request func(ctx context.Context) error) error {
	used := c.login.current()
	return onceMore(func() error {
		return c.store.call(ctx, op, func(ctx context.Context) error { return gcpError(request(ctx)) })
	}, gcpRefusesLogin, func() (bool, error) {
		c.login.forget(used)
		return true, nil
	})
}

// version returns the version with the number, or the newest enabled one.
func (c *gcpClient) version(ctx context.Context, parent, number string) (*kmspb.CryptoKeyVersion, error) {
	if number == "" {
		return c.newest(ctx, parent)
	}
	var version *kmspb.CryptoKeyVersion
	name := parent + "/cryptoKeyVersions/" + number
	err := c.call(ctx, "describe", func(ctx context.Context) (err error) {
		version, err = c.sdk.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: name})
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("describing version %s: %w", number, err)
	case version.Name != name:
		return nil, fmt.Errorf("describing version %s: %w: the answer is about %q", number, ErrKeyMismatch, plain(version.Name))
	}
	return version, nil
}

// maxPages bounds how many pages of versions are read.
const maxPages = 100

// newest reads all pages: Google documents no order, and sorts numbers as text.
func (c *gcpClient) newest(ctx context.Context, parent string) (*kmspb.CryptoKeyVersion, error) {
	var best *kmspb.CryptoKeyVersion
	var highest uint64
	request := &kmspb.ListCryptoKeyVersionsRequest{Parent: parent, PageSize: 1000, Filter: "state=ENABLED"}
	for range maxPages {
		page, err := c.page(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("listing versions: %w", err)
		}
		for _, version := range page.CryptoKeyVersions {
			digits, ok := strings.CutPrefix(version.Name, parent+"/cryptoKeyVersions/")
			number, err := strconv.ParseUint(digits, 10, 64)
			if ok && err == nil && number > highest && version.State == kmspb.CryptoKeyVersion_ENABLED {
				best, highest = version, number
			}
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	if best == nil {
		return nil, &StoreError{Kind: ErrKeyState, Code: "state", Message: "no version is ENABLED"}
	}
	return best, nil
}

func (c *gcpClient) page(ctx context.Context, request *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	var page *kmspb.ListCryptoKeyVersionsResponse
	err := c.call(ctx, "describe", func(ctx context.Context) error {
		versions := c.sdk.ListCryptoKeyVersions(ctx, request)
		if _, err := versions.Next(); err != nil && !errors.Is(err, iterator.Done) {
			return err
		}
		var ok bool
		if page, ok = versions.Response.(*kmspb.ListCryptoKeyVersionsResponse); !ok {
			return errors.New("the library gave no page of versions")
		}
		return nil
	})
	return page, err
}
