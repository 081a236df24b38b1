package kms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
)

// A huaweiClient is how one key reaches Huawei Cloud KMS.
type huaweiClient struct {
	store    *Store
	keys     *accessKeys
	endpoint string
	project  string
}

var (
	huaweiProject = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
	regionName    = regexp.MustCompile(`^[0-9a-z-]{1,64}$`)
)

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
	project := store.config.Project
	if project == "" {
		project = os.Getenv(huaweiProjectVar)
	}
	if !huaweiProject.MatchString(project) {
		return nil, fmt.Errorf("project %s is no project id; allowed: project of the key store, or the environment variable %s, of 1 to 64 letters and digits", shorten(project), huaweiProjectVar)
	}
	keys, err := newAccessKeys(accessKeySource{ //nolint:gosec // names of variables, not what they hold
		auth:      store.config.Auth,
		idVar:     "HUAWEICLOUD_SDK_AK",
		secretVar: "HUAWEICLOUD_SDK_SK",
		tokenVar:  "HUAWEICLOUD_SDK_SECURITY_TOKEN",
	})
	if err != nil {
		return nil, err
	}
	return &huaweiClient{store: store, keys: keys, endpoint: endpoint, project: project}, nil
}

func huaweiEndpoint(cfg StoreConfig) (string, error) {
	if cfg.Endpoint != "" {
		at, err := hostURL(cfg.Endpoint)
		if err != nil {
			return "", err
		}
		return at.String(), nil
	}
	if !regionName.MatchString(cfg.Region) {
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
	return c.keys.with(func(key accessKey) error {
		return c.store.call(ctx, op, func(ctx context.Context) error {
			var seen libraryCall
			sdk, err := c.sdk(seen.over(ctx, c.store.client().Transport), key)
			if err != nil {
				return err
			}
			return huaweiError(request(sdk), &seen)
		})
	})
}

// sdk returns Huawei's client for one request, because the library has no
// other way to bind a request to a context. It holds no connections.
func (c *huaweiClient) sdk(transport http.RoundTripper, key accessKey) (*huaweikms.KmsClient, error) {
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

// huaweiError returns what an error of Huawei's library means.
func huaweiError(err error, seen *libraryCall) error {
	var answer *sdkerr.ServiceResponseError
	switch {
	case err == nil:
		return nil
	case seen.failed() != nil:
		return seen.failed()
	case !errors.As(err, &answer):
		return &StoreError{Kind: ErrUnsupported, Message: err.Error()}
	case seen.status < 400:
		return seen.answer(ErrUnavailable, "", "the answer is not what the API says")
	case answer.ErrorCode == "":
		return seen.answer(kindOfStatus(seen.status), "", answer.ErrorMessage)
	}
	return seen.answer(huaweiKind(answer.ErrorCode, seen.status), answer.ErrorCode, answer.ErrorMessage)
}

// huaweiKind is what a code means: of KMS itself, or of the API gateway before
// it. The status alone says too little: KMS answers most faults with 400.
func huaweiKind(code string, status int) error {
	switch code {
	case "KMS.0205", "KMS.0207": // no id, no such key
		return ErrNotFound
	case "KMS.0209", "KMS.0210", "KMS.0211", "KMS.1301": // disabled, to be deleted, a default key, not enabled
		return ErrKeyState
	case "KMS.0301", "KMS.0302", "KMS.0303", "KMS.0305", "KMS.0306", "KMS.0307": // token, permission
		return ErrDenied
	case "KMS.0101", "KMS.0102": // internal, input and output
		return ErrUnavailable
	}
	gateway, isGateway := strings.CutPrefix(strings.Replace(code, "APIGW.", "APIG.", 1), "APIG.")
	switch {
	case !isGateway:
		return kindOfStatus(status)
	case gateway == "0308":
		return ErrThrottled
	case gateway == "0301", gateway == "0302", gateway == "0303", gateway == "0304", gateway == "0305", gateway == "0306", gateway == "0307":
		return ErrDenied
	}
	return kindOfStatus(status)
}
