package event

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Nexus signs with nothing else; as an HMAC it still holds
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strings"
)

const (
	artifactoryHeader = "X-JFrog-Event-Auth"
	nexusHeader       = "X-Nexus-Webhook-Signature"
)

// artifactoryProver checks the secret in a header, or the signature that
// Artifactory sends in the same place if it is told to sign with the secret.
func artifactoryProver(cfg Config, fault func(string, ...any)) proof {
	cfg.needKey(fault)
	plain := headerProver(cfg, fault, artifactoryHeader)
	if cfg.Header != "" {
		return plain
	}
	signed := hmacProver(cfg, artifactoryHeader, sha256.New)
	return proof{prove: func(ctx context.Context, header http.Header, body []byte) (letter, error) {
		if l, err := signed(ctx, header, body); err == nil {
			return l, nil
		}
		return plain.prove(ctx, header, body)
	}}
}

// nexusProver checks the signature of Nexus.
func nexusProver(cfg Config, fault func(string, ...any)) proof {
	cfg.needKey(fault)
	cfg.needSecret(fault)
	cfg.unused(fault, "as the secret signs")
	return proof{prove: hmacProver(cfg, nexusHeader, sha1.New)}
}

// hmacProver checks a hexadecimal HMAC of the body.
func hmacProver(cfg Config, name string, h func() hash.Hash) prover {
	return func(_ context.Context, header http.Header, body []byte) (letter, error) {
		secret, err := cfg.secret()
		if err != nil {
			return letter{}, err
		}
		said, err := oneValue(header, name)
		if err != nil {
			return letter{}, err
		}
		mac := hmac.New(h, secret)
		_, _ = mac.Write(body) // never fails
		want := hex.EncodeToString(mac.Sum(nil))
		if sameSecret([]byte(strings.ToLower(said)), []byte(want)) != 1 {
			return letter{}, fmt.Errorf("%w: wrong signature in %s", ErrUnauthorized, http.CanonicalHeaderKey(name))
		}
		return letter{header: header, body: body}, nil
	}
}

func (cfg Config) needKey(fault func(string, ...any)) {
	if cfg.Key == "" {
		fault("cloud.project: is required: the name of the repository that holds the images")
	}
}

// unused reports what is set beside a way to authenticate that has no use for
// it.
func (cfg Config) unused(fault func(string, ...any), why string) {
	if cfg.Username != "" {
		fault("username: is not used, %s", why)
	}
	if cfg.Header != "" {
		fault("header: is not used, %s", why)
	}
}
