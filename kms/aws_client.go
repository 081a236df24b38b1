package kms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// An awsClient asks AWS KMS.
type awsClient struct {
	store *Store
	sdk   *awskms.Client
	login *awsLogin
}

func newAWSClient(ctx context.Context, store *Store, ref awsRef) (*awsClient, error) {
	endpoint, err := awsEndpoint(store.config.Endpoint, ref)
	if err != nil {
		return nil, err
	}
	settings, err := awsSettings(store)
	if err != nil {
		return nil, err
	}
	loaded, err := loadAWS(ctx, settings)
	if err != nil {
		return nil, err
	}
	region := cmp.Or(ref.region, store.config.Region, loaded.Region)
	if !regionRE.MatchString(region) {
		return nil, fmt.Errorf("region %s is no region; allowed: in the key's ARN, region of the key store, AWS_REGION, region in the AWS configuration file, like eu-west-1", shorten(region))
	}
	login := &awsLogin{settings: settings, auth: store.config.Auth}
	sdk := awskms.NewFromConfig(loaded, func(o *awskms.Options) {
		o.Region = region
		o.Credentials = login
		o.HTTPSignerV4 = forgetful{}
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	if at := sdk.Options().BaseEndpoint; at != nil && endpoint == "" {
		if _, err := endpointURL("endpoint of the AWS configuration", *at); err != nil {
			return nil, err
		}
	}
	return &awsClient{store: store, sdk: sdk, login: login}, nil
}

// forgetful signs requests. The library's signer keeps what it derives of a
// secret by the access key id alone, and so would never use a renewed secret.
type forgetful struct{}

// SignHTTP implements awskms.HTTPSignerV4.
func (forgetful) SignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request,
	payloadHash, service, region string, at time.Time, options ...func(*v4.SignerOptions),
) error {
	return v4.NewSigner().SignHTTP(ctx, credentials, r, payloadHash, service, region, at, options...)
}

func awsEndpoint(configured string, ref awsRef) (string, error) {
	switch {
	case configured == "":
		return ref.endpoint, nil
	case ref.endpoint != "":
		return "", errors.New("the key URI names an endpoint and so does its key store; allowed: one of them")
	}
	at, err := endpointURL(ofStore, configured)
	if err != nil {
		return "", err
	}
	return at.String(), nil
}

// awsSettings is what the AWS library is told apart from the environment.
// Store.call is the only thing that tries again.
func awsSettings(store *Store) ([]func(*config.LoadOptions) error, error) {
	auth := store.config.Auth
	used := Auth{AccessKey: auth.AccessKey, SecretKeyFile: auth.SecretKeyFile, ConfigFile: auth.ConfigFile, Profile: auth.Profile}
	switch {
	case auth != used:
		return nil, errors.New("auth of the key store has a field that awskms does not use; allowed: access_key, secret_key_file, config_file, profile")
	case (auth.AccessKey == "") != (auth.SecretKeyFile == ""):
		return nil, errors.New("auth of the key store has one of access_key and secret_key_file; allowed: both or none")
	case auth.AccessKey != "" && (auth.ConfigFile != "" || auth.Profile != ""):
		return nil, errors.New("auth of the key store has access_key and config_file or profile; allowed: access_key with secret_key_file, or config_file with profile")
	}
	// The library looks for credentials without its caller's context, and has all
	// callers wait for one look: without an end of its own, one that hangs would
	// keep them all for ever.
	client := store.client()
	client.Timeout = store.config.Timeout
	settings := []func(*config.LoadOptions) error{
		config.WithAPIOptions([]func(*middleware.Stack) error{sendWith(client)}),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithLogger(logging.Nop{}),
	}
	if auth.Profile != "" || auth.ConfigFile != "" {
		// Named even if it is the default one, so that it goes before the keys
		// in the environment.
		settings = append(settings, config.WithSharedConfigProfile(cmp.Or(auth.Profile, "default")))
	}
	if auth.ConfigFile != "" {
		// One file for both: it may be written as either of them.
		settings = append(settings, config.WithSharedCredentialsFiles([]string{auth.ConfigFile}),
			config.WithSharedConfigFiles([]string{auth.ConfigFile}))
	}
	if store.config.Region != "" {
		settings = append(settings, config.WithRegion(store.config.Region)) // of STS too
	}
	return settings, nil
}

// sendWith has client send every request of the AWS library, also those to STS,
// SSO and the metadata of instances and containers. The library's own setting
// for that does not reach all of them, and is refused beside AWS_CA_BUNDLE.
func sendWith(client *http.Client) func(*middleware.Stack) error {
	sender := smithyhttp.NewClientHandlerWithOptions(client)
	send := func(ctx context.Context, in middleware.DeserializeInput, _ middleware.DeserializeHandler) (
		out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
	) {
		out.RawResponse, metadata, err = sender.Handle(ctx, in.Request)
		return out, metadata, err
	}
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("SealwrightTransport", send), middleware.After)
	}
}

func loadAWS(ctx context.Context, settings []func(*config.LoadOptions) error) (aws.Config, error) {
	loaded, err := config.LoadDefaultConfig(ctx, settings...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	return loaded, nil
}

// call is Store.call; it asks once more with new credentials if AWS does not
// accept those that were used and there are others by now.
func (c *awsClient) call(ctx context.Context, op string, request func(ctx context.Context) error) error {
	var used aws.Credentials
	return onceMore(func() error {
		return c.store.call(ctx, op, func(ctx context.Context) (err error) {
			if used, err = c.login.Retrieve(ctx); err != nil {
				return err
			}
			return awsError(request(ctx))
		})
	}, awsLoginRefused, func() (renewed bool, err error) {
		err = c.store.call(ctx, "login", func(ctx context.Context) (err error) {
			renewed, err = c.login.renew(ctx, used)
			return err
		})
		return renewed, err
	})
}
