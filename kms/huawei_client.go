package kms

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
)

// A huaweiClient is how one key reaches Huawei Cloud KMS.
type huaweiClient struct {
	store    *Store
	login    *renewable[accessKey]
	exchange *exchange
	endpoint string
	project  string
}

var huaweiProject = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

const (
	huaweiProjectVar = "HUAWEICLOUD_SDK_PROJECT_ID"
	// huaweiEurope is the one region of Huawei Cloud in the other domain.
	huaweiEurope = "eu-west-101"
)

func newHuaweiClient(store *Store) (*huaweiClient, error) {
	endpoint, err := huaweiEndpoint(store.config)
	if err != nil {
		return nil, err
	}
	project := cmp.Or(store.config.Project, os.Getenv(huaweiProjectVar))
	if !huaweiProject.MatchString(project) {
		return nil, fmt.Errorf("project %s is no project id; allowed: project of the key store, or the environment variable %s, of 1 to 64 letters and digits", shorten(project), huaweiProjectVar)
	}
	login, err := newAccessKeys(accessKeySource{ //nolint:gosec // names of variables, not what they hold
		auth:      store.config.Auth,
		idVar:     "HUAWEICLOUD_SDK_AK",
		secretVar: "HUAWEICLOUD_SDK_SK",
		tokenVar:  "HUAWEICLOUD_SDK_SECURITY_TOKEN",
	}, isDenied)
	if err != nil {
		return nil, err
	}
	send := &exchange{client: store.client(), refusal: huaweiRefusal}
	return &huaweiClient{store: store, login: login, exchange: send, endpoint: endpoint, project: project}, nil
}

func huaweiEndpoint(cfg StoreConfig) (string, error) {
	if cfg.Endpoint != "" {
		at, err := hostURL(cfg.Endpoint)
		if err != nil {
			return "", err
		}
		return at.String(), nil
	}
	if !regionRE.MatchString(cfg.Region) {
		return "", fmt.Errorf("region %s is no region; allowed: region of the key store, like cn-north-4, or its endpoint", shorten(cfg.Region))
	}
	domain := "myhuaweicloud.com"
	if cfg.Region == huaweiEurope {
		domain = "myhuaweicloud.eu"
	}
	return "https://kms." + cfg.Region + "." + domain, nil
}

// call makes one kind of request to the store.
func (c *huaweiClient) call(ctx context.Context, op string, request func(*huaweikms.KmsClient) error) error {
	return c.login.ask(ctx, c.store, op, func(ctx context.Context, key *accessKey) error {
		return c.send(ctx, key, request)
	})
}

func (c *huaweiClient) send(ctx context.Context, key *accessKey, request func(*huaweikms.KmsClient) error) error {
	var failure error
	sdk, err := c.sdk(c.exchange.over(ctx, &failure), key)
	if err != nil {
		return err
	}
	err = request(sdk)
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return notUnderstood("it is not what the API says") // the library's words can be all of the answer
	}
	return nil
}

// sdk returns Huawei's client for one request, because the library has no
// other way to bind a request to a context. It holds no connections.
func (c *huaweiClient) sdk(transport http.RoundTripper, key *accessKey) (*huaweikms.KmsClient, error) {
	credentials, err := basic.NewCredentialsBuilder().WithAk(key.id).WithSk(key.secret).
		WithSecurityToken(key.token).WithProjectId(c.project).SafeBuild()
	if err != nil {
		return nil, fmt.Errorf("setting up the credentials: %w", err)
	}
	// Without a name of ours, the library writes an identifier of this machine
	// into the user's home directory and sends it.
	settings := config.DefaultHttpConfig().WithHttpRoundTripper(transport).WithTimeout(0).WithUserAgent("sealwright")
	client, err := huaweikms.KmsClientBuilder().WithEndpoints([]string{c.endpoint}).
		WithCredential(credentials).WithHttpConfig(settings).SafeBuild()
	if err != nil {
		return nil, fmt.Errorf("setting up the client: %w", err)
	}
	return huaweikms.NewKmsClient(client), nil
}
