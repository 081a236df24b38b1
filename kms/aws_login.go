package kms

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// An awsLogin finds credentials where the key store's description or the AWS
// environment has them. The AWS library reads files once; an awsLogin reads
// them again when they were refused. It is safe for concurrent use.
type awsLogin struct {
	settings []func(*config.LoadOptions) error
	auth     Auth

	mu    sync.Mutex
	found aws.CredentialsProvider // caches and refreshes by itself; nil: to be looked for

	had atomic.Bool // there have been credentials
}

// Retrieve implements aws.CredentialsProvider. Its errors are StoreErrors.
func (l *awsLogin) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider, err := l.provider(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	found, err := provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, awsLoginError(err, l.had.Load())
	}
	l.had.Store(true)
	return found, nil
}

// renew looks for credentials again and reports whether there are others than
// refused.
func (l *awsLogin) renew(ctx context.Context, refused aws.Credentials) (bool, error) {
	now, err := l.Retrieve(ctx) // another call may have renewed them
	if err == nil && sameCredentials(now, refused) {
		l.mu.Lock()
		l.found = nil
		l.mu.Unlock()
		now, err = l.Retrieve(ctx)
	}
	return err == nil && !sameCredentials(now, refused), err
}

func sameCredentials(a, b aws.Credentials) bool {
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
		return nil, &StoreError{Kind: ErrDenied, Code: "credentials", Message: err.Error()}
	}
	l.found = found
	return found, nil
}

func (l *awsLogin) look(ctx context.Context) (aws.CredentialsProvider, error) {
	if l.auth.SecretKeyFile != "" {
		secret, err := readSecretKey(l.auth.SecretKeyFile)
		if err != nil {
			return nil, err
		}
		return credentials.NewStaticCredentialsProvider(l.auth.AccessKey, secret, ""), nil
	}
	if l.auth.ConfigFile != "" {
		if _, err := readSecret(l.auth.ConfigFile, maxKeyFile); err != nil {
			return nil, fmt.Errorf("reading config_file: %w", err)
		}
	}
	loaded, err := loadAWS(ctx, l.settings)
	if err != nil {
		return nil, err
	}
	return loaded.Credentials, nil
}
