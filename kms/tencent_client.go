package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

const (
	tencentVersion   = "2019-01-18"
	tencentRegionVar = "TENCENTCLOUD_REGION"
)

// A tencentClient is how one key reaches Tencent Cloud KMS.
type tencentClient struct {
	store  *Store
	keys   *accessKeys
	region string
	scheme string
	host   string // empty: the vendor's usual one
}

func newTencentClient(store *Store) (*tencentClient, error) {
	c := &tencentClient{store: store, region: store.config.Region, scheme: "HTTPS"}
	if c.region == "" {
		c.region = os.Getenv(tencentRegionVar)
	}
	if !regionName.MatchString(c.region) {
		return nil, fmt.Errorf("region %s is no region; allowed: region of the key store, or the environment variable %s, like ap-guangzhou", shorten(c.region), tencentRegionVar)
	}
	if store.config.Endpoint != "" {
		at, err := hostURL(store.config.Endpoint)
		if err != nil {
			return nil, err
		}
		c.scheme, c.host = strings.ToUpper(at.Scheme), at.Host
	}
	var err error
	c.keys, err = newAccessKeys(accessKeySource{ //nolint:gosec // names of variables, not what they hold
		auth:      store.config.Auth,
		idVar:     "TENCENTCLOUD_SECRET_ID",
		secretVar: "TENCENTCLOUD_SECRET_KEY",
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// call asks for action and decodes the answer into out.
func (c *tencentClient) call(ctx context.Context, op, action string, params map[string]any, out any) error {
	return c.keys.with(func(key accessKey) error {
		return c.store.call(ctx, op, func(ctx context.Context) error {
			var seen libraryCall
			request := tchttp.NewCommonRequest("kms", tencentVersion, action)
			request.SetContext(ctx)
			if err := request.SetActionParameters(params); err != nil {
				return fmt.Errorf("writing the request: %w", err)
			}
			response := tchttp.NewCommonResponse()
			sdk := c.sdk(seen.over(ctx, c.store.client().Transport), key)
			if err := sdk.Send(request, response); err != nil {
				return tencentError(err, &seen)
			}
			return decodeTencent(response.GetBody(), out, &seen)
		})
	})
}

// sdk returns Tencent's client for one request, whose answer it shows to
// transport alone. It holds no connections.
func (c *tencentClient) sdk(transport http.RoundTripper, key accessKey) *common.Client {
	settings := profile.NewClientProfile()
	settings.Language = "en-US"
	settings.NetworkFailureMaxRetries, settings.RateLimitExceededMaxRetries = 0, 0
	settings.HttpProfile.ReqTimeout = 0 // the context's
	settings.HttpProfile.Scheme, settings.HttpProfile.Endpoint = c.scheme, c.host
	return common.NewCommonClient(common.NewCredential(key.id, key.secret), c.region, settings).WithHttpTransport(transport)
}

// decodeTencent decodes what an answer has besides the envelope.
func decodeTencent(body []byte, out any, seen *libraryCall) error {
	envelope := struct{ Response any }{out}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return seen.answer(ErrUnavailable, "", "the answer is not what the API says")
	}
	return nil
}

// tencentError returns what an error of Tencent's library means.
func tencentError(err error, seen *libraryCall) error {
	var answer *tcerr.TencentCloudSDKError
	switch {
	case seen.failed() != nil:
		return seen.failed()
	case !errors.As(err, &answer):
		return &StoreError{Kind: ErrUnsupported, Message: err.Error()}
	case strings.HasPrefix(answer.Code, "ClientError."): // repeats the whole answer
		kind := ErrUnavailable
		if seen.status >= 400 {
			kind = kindOfStatus(seen.status)
		}
		return seen.answer(kind, "", "the answer is not what the API says")
	}
	return seen.answer(tencentKind(answer.Code, seen.status), answer.Code, answer.Message)
}

// tencentKind is what a code means. Its first word is common to all of
// Tencent's APIs, the second is of KMS. The status is 200 for faults too.
func tencentKind(code string, status int) error {
	switch code {
	case "ResourceUnavailable.CmkNotFound", "InvalidParameterValue.InvalidKeyId":
		return ErrNotFound
	case "ResourceUnavailable.CmkDisabled", "ResourceUnavailable.CmkArchived", "ResourceUnavailable.CmkStateNotSupport",
		"ResourceUnavailable.KeyDisabled", "ResourceUnavailable.KeyPendingDelete":
		return ErrKeyState
	case "UnsupportedOperation.ServiceTemporaryUnavailable":
		return ErrUnavailable
	}
	family, _, _ := strings.Cut(code, ".")
	switch family {
	case "RequestLimitExceeded":
		return ErrThrottled
	case "InternalError":
		return ErrUnavailable
	case "AuthFailure", "UnauthorizedOperation":
		return ErrDenied
	case "ResourceNotFound":
		return ErrNotFound
	}
	return kindOfStatus(status)
}
