package kms

import (
	"context"
	"fmt"
	"regexp"
)

// schemes are the key stores, as an error message lists them.
const schemes = "file:, awskms://, azurekms://, gcpkms://, hashivault://, openbao://, huaweikms://, tencentkms://, ocikms://, alikms://, pkcs11:, plugin:"

var (
	schemeRE = regexp.MustCompile(`^([a-z][a-z0-9+.-]{1,31}):`)
	pinRE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Open opens the key that cfg names. The signer it returns checks every
// signature with the key's public half, as it was when the key was opened,
// before handing it out, and stops waiting for the key store when ctx ends.
// ctx bounds the opening alone. The errors wrap [ErrScheme], [ErrKeyMismatch]
// (also for a key that is not the pinned one) or [ErrPassword] where they
// apply; none of them quotes the URI, which may hold a secret, beyond its
// scheme or the path of a file.
func Open(ctx context.Context, cfg Config) (Signer, error) {
	if cfg.PublicKeySHA256 != "" && !pinRE.MatchString(cfg.PublicKeySHA256) {
		return nil, fmt.Errorf("public_key_sha256 %s is not a fingerprint; allowed: 64 lower-case hex digits", shorten(cfg.PublicKeySHA256))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("opening the key: %w", err)
	}
	signer, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if got := signer.Public().Fingerprint(); cfg.PublicKeySHA256 != "" && got != cfg.PublicKeySHA256 {
		_ = signer.Close() // the mismatch is the news
		return nil, fmt.Errorf("the key has fingerprint %s, public_key_sha256 pins %s: %w", got, cfg.PublicKeySHA256, ErrKeyMismatch)
	}
	return verifying(signer), nil
}

// openStore is the one place that knows which key stores there are.
func openStore(ctx context.Context, cfg Config) (Signer, error) {
	match := schemeRE.FindStringSubmatch(cfg.URI)
	if match == nil {
		return nil, fmt.Errorf("key URI has no scheme: %w; allowed: %s", ErrScheme, schemes)
	}
	scheme := match[1]
	if scheme == "file" {
		return openFile(cfg)
	}
	open, ok := map[string]func(context.Context, Config) (Signer, error){
		"hashivault": openVault, "openbao": openVault, "awskms": openAWS, "gcpkms": openGCP, "azurekms": openAzure,
		"huaweikms": openHuawei, "tencentkms": openTencent, "ocikms": openOCI, "alikms": openAlibaba,
		"pkcs11": openPKCS11, "plugin": openPlugin,
	}[scheme]
	switch {
	case !ok:
		return nil, fmt.Errorf("key URI has the unknown scheme %q: %w; allowed: %s", scheme, ErrScheme, schemes)
	case cfg.Store == nil:
		return nil, fmt.Errorf("opening a key of %s: no key store given", scheme)
	}
	return open(ctx, cfg)
}
