package kms

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	"github.com/alibabacloud-go/darabonba-openapi/v2/utils"
	"github.com/alibabacloud-go/tea/dara"
)

// An alibabaClient sends requests to Alibaba Cloud KMS.
type alibabaClient struct {
	store          *Store
	login          *renewable[accessKey]
	exchange       *exchange
	protocol, host string
}

func newAlibabaClient(store *Store) (*alibabaClient, error) {
	c := &alibabaClient{store: store, exchange: &exchange{client: store.client(), refusal: alibabaRefusal}}
	var err error
	if c.protocol, c.host, err = alibabaEndpoint(store.config); err != nil {
		return nil, err
	}
	c.login, err = newAccessKeys(accessKeySource{ //nolint:gosec // names of variables, not what they hold
		auth:      store.config.Auth,
		idVar:     "ALIBABA_CLOUD_ACCESS_KEY_ID",
		secretVar: "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
		tokenVar:  "ALIBABA_CLOUD_SECURITY_TOKEN",
	}, alibabaRefusesLogin)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func alibabaEndpoint(cfg StoreConfig) (protocol, host string, err error) {
	if cfg.Endpoint != "" {
		at, err := hostURL(cfg.Endpoint)
		if err != nil {
			return "", "", err
		}
		return at.Scheme, at.Host, nil
	}
	region := cmp.Or(cfg.Region, os.Getenv("ALIBABA_CLOUD_REGION_ID"))
	if !regionRE.MatchString(region) {
		return "", "", fmt.Errorf("region %s of the key store is none; allowed: a name like cn-hangzhou, or an endpoint instead", shorten(region))
	}
	return "https", "kms." + region + ".aliyuncs.com", nil
}

// ask calls one action of the API and decodes its answer into out.
func (c *alibabaClient) ask(ctx context.Context, op, action string, params map[string]string, out any) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, as *accessKey) error {
		return c.send(ctx, action, params, as, out)
	})
}

// send makes one request. The methods of Alibaba's KMS package have no context,
// so it is the generic call below them. Its client is made anew each time: a
// client is written to while it calls, so that it cannot be shared.
func (c *alibabaClient) send(ctx context.Context, action string, params map[string]string, as *accessKey, out any) error {
	client, err := openapi.NewClient(&utils.Config{
		AccessKeyId: &as.id, AccessKeySecret: &as.secret, SecurityToken: &as.token,
		Protocol: &c.protocol, Endpoint: &c.host, HttpClient: alibabaTransport{c.exchange},
	})
	if err != nil {
		return fmt.Errorf("setting up a request: %w", err)
	}
	client.DisableSDKError = dara.Bool(true) // or it would hide our own
	query := make(map[string]*string, len(params))
	for name, value := range params {
		query[name] = &value
	}
	answer, err := client.CallApiWithCtx(ctx, alibabaAction(action), &utils.OpenApiRequest{Query: query}, &dara.RuntimeOptions{})
	if err != nil {
		return err
	}
	body, ok := answer["body"].(io.ReadCloser)
	if !ok {
		return notUnderstood("it has no body")
	}
	defer func() { _ = body.Close() }() // it is in memory
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return notUnderstood(err.Error())
	}
	return nil
}

// alibabaAction describes an action as Alibaba's KMS package does, except for
// the body, which we decode.
func alibabaAction(name string) *utils.Params {
	return &utils.Params{
		Action: &name, Version: dara.String("2016-01-20"), Protocol: dara.String("HTTPS"), Pathname: dara.String("/"),
		Method: dara.String(http.MethodPost), AuthType: dara.String("AK"), Style: dara.String("RPC"),
		ReqBodyType: dara.String("formData"), BodyType: dara.String("binary"),
	}
}

// An alibabaTransport lets Alibaba's library use our HTTP client.
type alibabaTransport struct{ *exchange }

// Call implements dara.HttpClient. The transport that the library offers is
// not used.
func (t alibabaTransport) Call(req *http.Request, _ *http.Transport) (*http.Response, error) {
	return t.Do(req)
}
