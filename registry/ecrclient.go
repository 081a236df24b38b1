package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-containerregistry/pkg/authn"
)

// ecrService stands before the name of an action of ECR's API.
const ecrService = "AmazonEC2ContainerRegistry_V20150921."

// An ecrClient asks ECR's API. It is safe for concurrent use.
type ecrClient struct {
	ecrPlace
	client   *Client
	api      *vendorAPI
	login    *awsLogin
	pageSize int
}

func newECRClient(client *Client, cfg Config) (*ecrClient, error) {
	place, err := newECRPlace(cfg)
	if err != nil {
		return nil, err
	}
	login, err := newAWSLogin(client.transport, cfg.Cloud, place.region)
	if err != nil {
		return nil, err
	}
	api, err := newVendorAPI(client, cfg, place.usual)
	if err != nil {
		return nil, err
	}
	api.transport.base = awsThrottling{api.transport.base}
	api.diagnose, api.kind = awsDiagnose, awsKind
	return &ecrClient{ecrPlace: place, client: client, api: api, login: login, pageSize: min(client.pageSize, vendorPage)}, nil
}

// call asks once more with other credentials if AWS does not accept those that
// were used and there are others by now.
func (c *ecrClient) call(ctx context.Context, action string, in, out any) error {
	credentials, err := c.login.retrieve(ctx)
	if err != nil {
		return err
	}
	err = c.send(ctx, credentials, action, in, out)
	var answer *ResponseError
	if !errors.As(err, &answer) || !awsRefusesLogin(answer.Codes) {
		return err
	}
	renewed, loginErr := c.login.renew(ctx, credentials)
	switch {
	case loginErr != nil:
		return fmt.Errorf("%w; reading the credentials again: %w", err, loginErr)
	case sameAWSCredentials(renewed, credentials):
		return err
	}
	return c.send(ctx, renewed, action, in, out)
}

func (c *ecrClient) send(ctx context.Context, credentials aws.Credentials, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	api := *c.api
	api.credentials = func(context.Context) (authorise, error) { return awsSignature(credentials, c.region), nil }
	_, err = api.ask(ctx, vendorCall{method: http.MethodPost, body: body, header: http.Header{
		"Content-Type": {"application/x-amz-json-1.1"},
		"X-Amz-Target": {ecrService + action},
	}}, out)
	return err
}

// awsSignature signs requests of ECR.
func awsSignature(credentials aws.Credentials, region string) authorise {
	return func(req *http.Request, body []byte) error {
		digest := sha256.Sum256(body)
		// The library's signer remembers what it derives of a secret by the
		// access key alone, and so would never use another secret of the same one.
		return v4.NewSigner().SignHTTP(req.Context(), credentials, req, hex.EncodeToString(digest[:]), "ecr", region, time.Now())
	}
}

// registryLogin exchanges AWS's credentials for those of the registry, which
// are valid for 12 hours.
func (c *ecrClient) registryLogin(ctx context.Context, _ bool) (authn.AuthConfig, time.Time, error) {
	var answer struct {
		Data []struct {
			Token   string  `json:"authorizationToken"`
			Expires float64 `json:"expiresAt"` // Unix seconds, with a fraction
		} `json:"authorizationData"`
	}
	if err := c.call(ctx, "GetAuthorizationToken", struct{}{}, &answer); err != nil {
		return authn.AuthConfig{}, time.Time{}, fmt.Errorf("logging in to ECR: %w", err)
	}
	if len(answer.Data) == 0 {
		return authn.AuthConfig{}, time.Time{}, fmt.Errorf("logging in to ECR: no authorization data: %w", ErrCorrupt)
	}
	raw, err := base64.StdEncoding.DecodeString(answer.Data[0].Token)
	user, password, found := strings.Cut(string(raw), ":")
	if err != nil || !found || user == "" || password == "" {
		return authn.AuthConfig{}, time.Time{}, fmt.Errorf("logging in to ECR: token is not user:password in base64: %w", ErrCorrupt)
	}
	var expires time.Time
	if at := answer.Data[0].Expires; at > 0 {
		expires = time.UnixMilli(int64(at * 1000))
	}
	return authn.AuthConfig{Username: user, Password: password}, expires, nil
}

// awsThrottling makes of the 400 that AWS answers to those who ask too often
// what HTTP has for that, so that the budget sees it.
type awsThrottling struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t awsThrottling) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		return resp, err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	for _, said := range awsDiagnose(raw) {
		if awsThrottles(said.Code) {
			resp.StatusCode, resp.Status = http.StatusTooManyRequests, "429 Too Many Requests"
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(raw))
	resp.ContentLength = int64(len(raw))
	return resp, nil
}
