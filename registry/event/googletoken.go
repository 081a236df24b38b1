package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	googleKeysURL = "https://www.googleapis.com/oauth2/v3/certs"
	maxToken      = 8 << 10 // bytes
	keysFresh     = time.Hour
	tokenLeeway   = time.Minute
)

// garProver checks the token of Google that a Pub/Sub push carries, or a shared
// secret where no service account is configured.
func garProver(cfg Config, fault func(string, ...any)) proof {
	if cfg.ServiceAccount == "" {
		if cfg.Audience != "" {
			fault("audience: wants service_account too")
		}
		return secretProver(cfg, fault)
	}
	if cfg.Audience == "" {
		fault("audience: is required with service_account")
	}
	cfg.unused(fault, "as Google's token says who sends")
	if cfg.Secret != nil {
		fault("secret_file: is not used, as Google's token says who sends")
	}
	keys := &googleKeys{fetcher: newFetcher(cfg, fault)}
	return byHeader(func(ctx context.Context, header http.Header) error { return cfg.checkToken(ctx, keys, header) })
}

type googleClaims struct {
	jwt.Claims
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
}

func (cfg Config) checkToken(ctx context.Context, keys *googleKeys, header http.Header) error {
	said, err := oneValue(header, authorization)
	if err != nil {
		return err
	}
	scheme, raw, _ := strings.Cut(said, " ")
	if !strings.EqualFold(scheme, "Bearer") || len(raw) > maxToken {
		return fmt.Errorf("%w: no bearer token", ErrUnauthorized)
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(token.Headers) != 1 {
		return fmt.Errorf("%w: no token signed with RS256", ErrUnauthorized)
	}
	var claims googleClaims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return fmt.Errorf("%w: claims of the token are malformed", ErrUnauthorized)
	}
	// What would be refused anyway is worth no request.
	if err := cfg.checkClaims(claims); err != nil {
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	key, err := keys.find(ctx, token.Headers[0].KeyID)
	if err != nil {
		return err
	}
	if err := token.Claims(key, &googleClaims{}); err != nil {
		return fmt.Errorf("%w: the token's signature is not valid", ErrUnauthorized)
	}
	return nil
}

func (cfg Config) checkClaims(c googleClaims) error {
	expected := jwt.Expected{AnyAudience: jwt.Audience{cfg.Audience}, Time: cfg.Now()}
	switch {
	case c.Issuer != "https://accounts.google.com" && c.Issuer != "accounts.google.com":
		return errors.New("the token is not of Google")
	case c.Expiry == nil:
		return errors.New("the token does not expire")
	case sameSecret([]byte(c.Email), []byte(cfg.ServiceAccount)) != 1 || !c.EmailVerified:
		return errors.New("the token is of another account")
	case c.ValidateWithLeeway(expected, tokenLeeway) != nil:
		return errors.New("the token has expired or is for another audience")
	}
	return nil
}

// googleKeys are Google's current keys.
type googleKeys struct {
	fetcher *fetcher
	// fetches is used up by nobody: whoever makes us ask brings all keys up to date.
	fetches allowance

	mu   sync.Mutex
	set  jose.JSONWebKeySet
	read time.Time
}

// find returns a key by its id, asking Google if it is not known or what is
// known is old.
func (k *googleKeys) find(ctx context.Context, id string) (any, error) {
	if key := k.known(id); key != nil {
		return key, nil
	}
	raw, err := k.fetcher.get(ctx, googleKeysURL, &k.fetches)
	if err != nil {
		return nil, fmt.Errorf("reading Google's keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("reading Google's keys: %w", err)
	}
	k.mu.Lock()
	k.set, k.read = set, k.fetcher.now()
	k.mu.Unlock()
	if key := k.known(id); key != nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: the token's key is none of Google's", ErrUnauthorized)
}

func (k *googleKeys) known(id string) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age := k.fetcher.now().Sub(k.read); age < 0 || age > keysFresh {
		return nil
	}
	for _, key := range k.set.Key(id) {
		if key.IsPublic() && key.Valid() {
			return key.Key
		}
	}
	return nil
}
