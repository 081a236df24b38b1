package kms

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

const (
	tencentVersion   = "2019-01-18"
	tencentRegionVar = "TENCENTCLOUD_REGION"
)

// A tencentClient is how one key reaches Tencent Cloud KMS.
type tencentClient struct {
	store    *Store
	login    *renewable[accessKey]
	exchange *exchange
	region   string
	scheme   string
	host     string // empty: the vendor's usual one
}

func newTencentClient(store *Store) (*tencentClient, error) {
	c := &tencentClient{store: store, scheme: "HTTPS", exchange: &exchange{client: store.client(), refusal: tencentRefusal}}
	c.region = cmp.Or(store.config.Region, os.Getenv(tencentRegionVar))
	if !regionRE.MatchString(c.region) {
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
	c.login, err = newAccessKeys(accessKeySource{ //nolint:gosec // names of variables, not what they hold
		auth:      store.config.Auth,
		idVar:     "TENCENTCLOUD_SECRET_ID",
		secretVar: "TENCENTCLOUD_SECRET_KEY",
	}, isDenied)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// call asks for action and decodes the answer into out.
func (c *tencentClient) call(ctx context.Context, op, action string, params map[string]any, out any) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, key *accessKey) error {
		return c.send(ctx, key, action, params, out)
	})
}

func (c *tencentClient) send(ctx context.Context, key *accessKey, action string, params map[string]any, out any) error {
	request := tchttp.NewCommonRequest("kms", tencentVersion, action)
	request.SetContext(ctx)
	if err := request.SetActionParameters(params); err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	response := tchttp.NewCommonResponse()
	var failure error
	err := c.sdk(c.exchange.over(ctx, &failure), key).Send(request, response)
	if failure != nil {
		return failure
	}
	if err == nil {
		envelope := struct{ Response any }{out}
		err = json.Unmarshal(response.GetBody(), &envelope)
	}
	if err != nil {
		return notUnderstood("it is not what the API says") // the library's words can be all of the answer
	}
	return nil
}

// sdk returns Tencent's client for one request, whose answer it shows to
// transport alone. It holds no connections.
func (c *tencentClient) sdk(transport http.RoundTripper, key *accessKey) *common.Client {
	settings := profile.NewClientProfile()
	settings.Language = "en-US"
	settings.NetworkFailureMaxRetries, settings.RateLimitExceededMaxRetries = 0, 0
	settings.HttpProfile.ReqTimeout = 0 // the context's
	settings.HttpProfile.Scheme, settings.HttpProfile.Endpoint = c.scheme, c.host
	return common.NewCommonClient(common.NewCredential(key.id, key.secret), c.region, settings).WithHttpTransport(transport)
}
