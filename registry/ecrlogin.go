package registry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// An awsLogin finds credentials where the registry's description or the AWS
// environment has them. The AWS library reads files once; an awsLogin reads
// them again when they were refused. It is safe for concurrent use.
type awsLogin struct {
	settings []func(*awsconfig.LoadOptions) error
	cloud    Cloud

	mu    sync.Mutex
	found aws.CredentialsProvider // caches and refreshes by itself; nil: to be looked for
}

// newAWSLogin reads nothing yet.
func newAWSLogin(t *transport, cloud Cloud, region string) (*awsLogin, error) {
	switch {
	case (cloud.AccessKey == "") != (cloud.Secret == nil):
		return nil, errors.New("cloud has one of access_key and secret_file; allowed: both or none")
	case cloud.AccessKey != "" && (cloud.ConfigFile != "" || cloud.Profile != ""):
		return nil, errors.New("cloud has access_key and config_file or profile; allowed: access_key with secret_file, or config_file with profile")
	}
	settings := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithAPIOptions([]func(*middleware.Stack) error{sendWith(newLoginClient(t))}),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // the transport tries again
		awsconfig.WithLogger(logging.Nop{}),
		awsconfig.WithRegion(region), // of STS
	}
	if cloud.Profile != "" || cloud.ConfigFile != "" {
		// Named even if it is the default one, so that it goes before the keys
		// in the environment.
		settings = append(settings, awsconfig.WithSharedConfigProfile(cmp.Or(cloud.Profile, "default")))
	}
	if cloud.ConfigFile != "" {
		// One file for both: it may be written as either of them.
		settings = append(settings, awsconfig.WithSharedCredentialsFiles([]string{cloud.ConfigFile}),
			awsconfig.WithSharedConfigFiles([]string{cloud.ConfigFile}))
	}
	return &awsLogin{settings: settings, cloud: cloud}, nil
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

// retrieve returns credentials that have not expired.
func (l *awsLogin) retrieve(ctx context.Context) (aws.Credentials, error) {
	provider, err := l.provider(ctx)
	if err == nil {
		var found aws.Credentials
		if found, err = provider.Retrieve(ctx); err == nil {
			return found, nil
		}
	}
	if ctx.Err() != nil {
		return aws.Credentials{}, ctx.Err()
	}
	return aws.Credentials{}, awsLoginError(err)
}

// renew looks for credentials again, if they are still those that were refused.
func (l *awsLogin) renew(ctx context.Context, refused aws.Credentials) (aws.Credentials, error) {
	now, err := l.retrieve(ctx) // another call may have renewed them
	if err == nil && sameAWSCredentials(now, refused) {
		l.mu.Lock()
		l.found = nil
		l.mu.Unlock()
		now, err = l.retrieve(ctx)
	}
	return now, err
}

func sameAWSCredentials(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}

// provider holds the lock while it reads files; the requests that credentials
// can cost are made without it.
func (l *awsLogin) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found != nil {
		return l.found, nil
	}
	found, err := l.look(ctx)
	if err != nil {
		return nil, err
	}
	l.found = found
	return found, nil
}

func (l *awsLogin) look(ctx context.Context) (aws.CredentialsProvider, error) {
	if l.cloud.AccessKey != "" {
		secret, err := l.cloud.Secret()
		if err != nil {
			return nil, fmt.Errorf("reading the secret of the access key: %w", err)
		}
		if secret = bytes.TrimSpace(secret); len(secret) == 0 {
			return nil, errors.New("the secret of the access key is empty")
		}
		return credentials.NewStaticCredentialsProvider(l.cloud.AccessKey, string(secret), ""), nil
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, l.settings...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	return loaded.Credentials, nil
}

// awsLoginError says why there are no credentials: if not the network or a
// throttle is to blame, trying again does not help.
func awsLoginError(err error) error {
	const doing = "looking for AWS credentials"
	for _, known := range []error{ErrRateLimited, ErrUnavailable, ErrTooLarge} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w: %s", doing, known, plain(withoutURL(err)))
		}
	}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		code := plain(answer.ErrorCode())
		kind := ErrUnauthorized
		if awsThrottles(code) {
			kind = ErrRateLimited
		}
		return fmt.Errorf("%s: %w: %s", doing, kind, code)
	}
	return fmt.Errorf("%s: %w: %s", doing, ErrUnauthorized, plain(withoutURL(err)))
}
