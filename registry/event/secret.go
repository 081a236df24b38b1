package event

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

const authorization = "Authorization"

var headerName = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}$`)

// secretProver checks a shared secret in a header.
func secretProver(cfg Config, fault func(string, ...any)) proof {
	return headerProver(cfg, fault, authorization)
}

func headerProver(cfg Config, fault func(string, ...any), name string) proof {
	if cfg.Header != "" {
		name = cfg.Header
	}
	if !headerName.MatchString(name) {
		fault("header: %s is no name of a header", quote(name))
	}
	cfg.needSecret(fault)
	return byHeader(func(_ context.Context, header http.Header) error {
		secret, err := cfg.secret()
		if err != nil {
			return err
		}
		said, err := oneValue(header, name)
		if err != nil {
			return err
		}
		if !carries(said, cfg.Username, secret) {
			return fmt.Errorf("%w: wrong secret in %s", ErrUnauthorized, http.CanonicalHeaderKey(name))
		}
		return nil
	})
}

func (cfg Config) needSecret(fault func(string, ...any)) {
	if cfg.Secret == nil {
		fault("secret_file: is required, as anybody could send events otherwise")
	}
}

func (cfg Config) secret() ([]byte, error) {
	secret, err := cfg.Secret()
	if err != nil {
		return nil, fmt.Errorf("reading the secret of events of %s: %w", cfg.Source, err)
	}
	if len(secret) == 0 {
		return nil, fmt.Errorf("the secret of events of %s is empty", cfg.Source)
	}
	return secret, nil
}

// oneValue returns the value of a header that stands there once: with several,
// a proxy may have looked at another one.
func oneValue(header http.Header, name string) (string, error) {
	values := header.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("%w: want %s once, have it %d times", ErrUnauthorized, http.CanonicalHeaderKey(name), len(values))
	}
	return values[0], nil
}

// carries reports whether the value of a header is the secret, alone or as
// Bearer or Basic credentials. All forms are compared, so that the time taken
// tells nothing about the secret.
func carries(said, username string, secret []byte) bool {
	same := 0
	if username == "" { // a user name can only be said by Basic
		same = sameSecret([]byte(said), secret)
	}
	scheme, credentials, _ := strings.Cut(said, " ")
	credentials = strings.TrimLeft(credentials, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer") && username == "":
		same |= sameSecret([]byte(credentials), secret)
	case strings.EqualFold(scheme, "Basic"):
		user, password, err := basic(credentials)
		if err != nil {
			break
		}
		rightUser := 1
		if username != "" {
			rightUser = sameSecret([]byte(user), []byte(username))
		}
		same |= sameSecret([]byte(password), secret) & rightUser
	}
	return same == 1
}

func basic(credentials string) (user, password string, err error) {
	raw, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return "", "", err
	}
	user, password, found := strings.Cut(string(raw), ":")
	if !found {
		return "", "", errors.New("no colon")
	}
	return user, password, nil
}

// sameSecret returns 1 if a is b. Hashed first, not even the length shows.
func sameSecret(a, b []byte) int {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:])
}
