package kms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	"github.com/alibabacloud-go/darabonba-openapi/v2/utils"
	"github.com/alibabacloud-go/tea/dara"
)

const alibabaURI = "alikms://KEY_ID or alikms://alias/NAME, with ?version=VERSION_ID to pin a version"

var (
	alibabaIDRE     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,127}$`)
	alibabaAliasRE  = regexp.MustCompile(`^alias/[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
	alibabaRegionRE = regexp.MustCompile(`^[a-z]{2,8}(-[a-z0-9]{1,32}){1,4}$`)
)

// maxAlias is the length of the longest alias, in bytes.
const maxAlias = 255

func parseAlibaba(uri string) (key, version string, err error) {
	key, version, err = cutVersion(uri, "alikms://")
	switch {
	case err != nil:
		return "", "", fmt.Errorf("key URI: %w; allowed: %s", err, alibabaURI)
	case !alibabaIDRE.MatchString(key) && (!alibabaAliasRE.MatchString(key) || len(key) > maxAlias):
		return "", "", fmt.Errorf("key URI names no key; allowed: %s", alibabaURI)
	case version != "" && !alibabaIDRE.MatchString(version):
		return "", "", fmt.Errorf("key URI names no version; allowed: %s", alibabaURI)
	}
	return key, version, nil
}

// An alibabaClient sends requests to Alibaba Cloud KMS.
type alibabaClient struct {
	store          *Store
	login          *renewable[alibabaCredentials]
	exchange       *exchange
	protocol, host string
}

func newAlibabaClient(store *Store) (*alibabaClient, error) {
	c := &alibabaClient{store: store, exchange: &exchange{client: store.client(), refusal: alibabaRefusal}}
	var err error
	if c.protocol, c.host, err = alibabaEndpoint(store.config); err != nil {
		return nil, err
	}
	find := func(context.Context) (*alibabaCredentials, error) { return findAlibabaCredentials(store.config.Auth) }
	same := func(a, b *alibabaCredentials) bool { return *a == *b }
	c.login = newRenewable(find, same, alibabaRefusesLogin)
	return c, nil
}

func alibabaEndpoint(cfg StoreConfig) (protocol, host string, err error) {
	if cfg.Endpoint != "" {
		at, err := endpointURL(cfg.Endpoint)
		if err != nil {
			return "", "", err
		}
		if at.Path != "" && at.Path != "/" {
			return "", "", errors.New("endpoint of the key store has a path; allowed: https://HOST[:PORT]")
		}
		return at.Scheme, at.Host, nil
	}
	region := firstOf(cfg.Region, os.Getenv("ALIBABA_CLOUD_REGION_ID"))
	if !alibabaRegionRE.MatchString(region) {
		return "", "", fmt.Errorf("region %s of the key store is none; allowed: a name like cn-hangzhou, or an endpoint instead", shorten(region))
	}
	return "https", "kms." + region + ".aliyuncs.com", nil
}

// ask calls one action of the API and decodes its answer into out.
func (c *alibabaClient) ask(ctx context.Context, op, action string, params map[string]string, out any) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, as *alibabaCredentials) error {
		return c.send(ctx, action, params, as, out)
	})
}

// send makes one request. The methods of Alibaba's KMS package have no context,
// so it is the generic call below them. Its client is made anew each time: a
// client is written to while it calls, so that it cannot be shared.
func (c *alibabaClient) send(ctx context.Context, action string, params map[string]string, as *alibabaCredentials, out any) error {
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

// alibabaCredentials are an access key, with a token if it is a temporary one.
type alibabaCredentials struct{ id, secret, token string }

// findAlibabaCredentials reads the key store's access key or else the usual
// environment variables.
func findAlibabaCredentials(auth Auth) (*alibabaCredentials, error) {
	if auth.AccessKey == "" && auth.SecretKeyFile == "" {
		found := &alibabaCredentials{
			id:     os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"),
			secret: os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
			token:  os.Getenv("ALIBABA_CLOUD_SECURITY_TOKEN"),
		}
		if found.id == "" || found.secret == "" {
			return nil, errors.New("no credentials; allowed: access_key and secret_key_file of the key store, " +
				"or the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET")
		}
		return found, nil
	}
	if auth.AccessKey == "" || auth.SecretKeyFile == "" {
		return nil, errors.New("access_key and secret_key_file of the key store belong together; one is missing")
	}
	secret, err := readSecret(auth.SecretKeyFile, maxPasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading secret_key_file: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 {
		return nil, fmt.Errorf("secret_key_file %s is empty", auth.SecretKeyFile)
	}
	return &alibabaCredentials{id: auth.AccessKey, secret: string(secret)}, nil
}
