package kms

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
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

// read returns the access key as it is now.
func (s accessKeySource) read() (accessKey, error) {
	if s.auth.AccessKey == "" && s.auth.SecretKeyFile == "" {
		return s.fromEnvironment()
	}
	if s.auth.AccessKey == "" || s.auth.SecretKeyFile == "" {
		return accessKey{}, errors.New("auth of the key store is incomplete; allowed: access_key and secret_key_file, or neither")
	}
	secret, err := readSecret(s.auth.SecretKeyFile, maxPasswordFile)
	if err != nil {
		return accessKey{}, fmt.Errorf("reading secret_key_file: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) == 0 {
		return accessKey{}, fmt.Errorf("secret_key_file %s is empty", s.auth.SecretKeyFile)
	}
	return accessKey{id: s.auth.AccessKey, secret: string(secret)}, nil
}

func (s accessKeySource) fromEnvironment() (accessKey, error) {
	key := accessKey{id: os.Getenv(s.idVar), secret: os.Getenv(s.secretVar)}
	if key.id == "" || key.secret == "" {
		return accessKey{}, fmt.Errorf("no access key; allowed: auth access_key and secret_key_file of the key store, or the environment variables %s and %s", s.idVar, s.secretVar)
	}
	if s.tokenVar != "" {
		key.token = os.Getenv(s.tokenVar)
	}
	return key, nil
}

// accessKeys holds the access key that is in use. It is safe for concurrent
// use.
type accessKeys struct {
	source accessKeySource

	mu      sync.Mutex
	current accessKey
}

func newAccessKeys(source accessKeySource) (*accessKeys, error) {
	key, err := source.read()
	if err != nil {
		return nil, err
	}
	return &accessKeys{source: source, current: key}, nil
}

// with makes a request with the access key. If the store denies it and there
// is another access key by now, it is made once more with that one. It is not
// made again with the same: vendors lock an access key after a few refusals.
func (k *accessKeys) with(request func(accessKey) error) error {
	k.mu.Lock()
	used := k.current
	k.mu.Unlock()
	denied := request(used)
	if !errors.Is(denied, ErrDenied) {
		return denied
	}
	renewed, err := k.renew(used)
	if err != nil {
		return fmt.Errorf("%w; looking for a newer access key: %w", denied, err)
	}
	if renewed == used {
		return denied
	}
	return request(renewed)
}

// renew returns the access key that is to be used after refused was.
func (k *accessKeys) renew(refused accessKey) (accessKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != refused {
		return k.current, nil // another call has renewed it
	}
	fresh, err := k.source.read()
	if err == nil {
		k.current = fresh
	}
	return k.current, err
}
