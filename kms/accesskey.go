package kms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
)

// An accessKey is a key to a vendor's API: a public half, a secret half, and a
// token if the key is temporary.
type accessKey struct{ id, secret, token string }

// An accessKeySource is where an access key comes from: the key store's
// description or else environment variables.
type accessKeySource struct {
	auth                       Auth
	idVar, secretVar, tokenVar string // tokenVar is empty if the vendor names none
}

// newAccessKeys returns the access key of source, which is read again when an
// answer is one that refused picks.
func newAccessKeys(source accessKeySource, refused func(*StoreError) bool) (*renewable[accessKey], error) {
	auth := source.auth
	if auth != (Auth{AccessKey: auth.AccessKey, SecretKeyFile: auth.SecretKeyFile}) || (auth.AccessKey == "") != (auth.SecretKeyFile == "") {
		return nil, errors.New("auth of the key store does not fit it; allowed: access_key and secret_key_file, or neither")
	}
	find := func(context.Context) (*accessKey, error) { return source.read() }
	same := func(a, b *accessKey) bool { return *a == *b }
	return newRenewable(find, same, refused), nil
}

// read returns the access key as it is now.
func (s accessKeySource) read() (*accessKey, error) {
	if s.auth.SecretKeyFile != "" {
		secret, err := readSecretKey(s.auth.SecretKeyFile)
		if err != nil {
			return nil, err
		}
		return &accessKey{id: s.auth.AccessKey, secret: secret}, nil
	}
	key := &accessKey{id: os.Getenv(s.idVar), secret: os.Getenv(s.secretVar)}
	if key.id == "" || key.secret == "" {
		return nil, fmt.Errorf("no access key; allowed: auth access_key and secret_key_file of the key store, or the environment variables %s and %s", s.idVar, s.secretVar)
	}
	if s.tokenVar != "" {
		key.token = os.Getenv(s.tokenVar)
	}
	return key, nil
}

// readSecretKey reads the secret half of an access key.
func readSecretKey(path string) (string, error) {
	secret, err := readSecret(path, maxPasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading secret_key_file: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 {
		return "", fmt.Errorf("secret_key_file %s is empty", path)
	}
	return string(secret), nil
}
