package kms_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/awstest"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

var dataKey = bytes.Repeat([]byte{0x5e}, 32)

// wantUnwrapped fails unless the wrapped text holds dataKey.
func wantUnwrapped(t *testing.T, uri string, store *kms.Store, wrapped string) {
	t.Helper()
	if got, err := kms.Unwrap(t.Context(), uri, store, wrapped); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("%s: %x, %v", uri, got, err)
	}
}

// wantStaysWrapped fails unless unwrapping fails with the sentinel and these words, and
// the error tells nothing of the text.
func wantStaysWrapped(t *testing.T, uri string, store *kms.Store, wrapped string, sentinel error, words ...string) {
	t.Helper()
	got, err := kms.Unwrap(t.Context(), uri, store, wrapped)
	if err == nil {
		t.Fatalf("%s: unwrapped %x", uri, got)
	}
	wantError(t, err, cmp.Or(sentinel, err), words...)
	if got != nil || len(wrapped) > 20 && strings.Contains(err.Error(), wrapped[len(wrapped)-20:]) {
		t.Errorf("%x, %v", got, err)
	}
}

func TestVaultUnwraps(t *testing.T) {
	t.Parallel()
	server, cfg := startVault(t)
	server.CreateKey(t, "transit/sealing", "aes256-gcm96")
	server.CreateKey(t, "team-a/transit/sealing", "aes256-gcm96")
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	store := newStore(t, cfg)
	old := server.Wrap(t, "transit/sealing", dataKey)
	server.Rotate(t, "transit/sealing")
	wantUnwrapped(t, "hashivault://sealing", store, old)
	wantUnwrapped(t, "openbao://sealing", store, server.Wrap(t, "transit/sealing", dataKey))
	other := server.Wrap(t, "team-a/transit/sealing", dataKey)
	wantUnwrapped(t, "hashivault://team-a/transit/sealing", store, other)

	wantStaysWrapped(t, "hashivault://sealing", store, other, kms.ErrKeyMismatch)
	wantStaysWrapped(t, "hashivault://sealing", store, old[:len(old)-4]+"AAA=", kms.ErrKeyMismatch)
	wantStaysWrapped(t, "hashivault://sealing", store, strings.Repeat("5e", 32), kms.ErrKeyMismatch, "vault:vN:BASE64")
	wantStaysWrapped(t, "hashivault://none", store, old, kms.ErrNotFound)
	wantStaysWrapped(t, "hashivault://release", store, old, kms.ErrUnsupported)
	wantStaysWrapped(t, "hashivault://sealing?version=1", store, old, nil, "names no version")
	server.SetMinVersion("transit/sealing", 2)
	wantStaysWrapped(t, "hashivault://sealing", store, old, kms.ErrKeyState)
	for _, body := range []string{`{"data":{"plaintext":"?"}}`, `{"data":{"plaintext":5}}`, `{"data":null}`} {
		server.Intercept(func(op string, w http.ResponseWriter, _ *http.Request) bool {
			if op == "decrypt" {
				_, _ = w.Write([]byte(body))
			}
			return op == "decrypt"
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // it is tried again
		if got, err := kms.Unwrap(ctx, "hashivault://sealing", store, other); err == nil {
			t.Errorf("%s: %x", body, got)
		}
		cancel()
	}
}

func TestVaultUnwrapsForWhomItKnows(t *testing.T) {
	t.Parallel()
	server, cfg := startVault(t)
	server.CreateKey(t, "transit/sealing", "aes256-gcm96")
	store := newStore(t, cfg)
	wrapped := server.Wrap(t, "transit/sealing", dataKey)
	server.NewToken() // the file has the old one
	wantStaysWrapped(t, "hashivault://sealing", store, wrapped, kms.ErrDenied)
}

func TestAWSUnwraps(t *testing.T) {
	t.Parallel()
	server := awstest.New(t)
	store := newStore(t, awsConfig(t, server))
	arn, other := server.CreateWrappingKey(), server.CreateWrappingKey()
	server.SetAlias("alias/sealing", arn)
	wrapped := server.Wrap(t, arn, dataKey)
	wantUnwrapped(t, "awskms:///"+arn, store, wrapped)
	wantUnwrapped(t, "awskms:///alias/sealing", store, wrapped)

	wantStaysWrapped(t, "awskms:///"+other, store, wrapped, kms.ErrKeyMismatch, "IncorrectKeyException")
	wantStaysWrapped(t, "awskms:///"+arn, store, base64.StdEncoding.EncodeToString(make([]byte, 60)), kms.ErrKeyMismatch, "InvalidCiphertextException")
	wantStaysWrapped(t, "awskms:///"+arn, store, "vault:v1:AAAA", kms.ErrKeyMismatch, "not base64")
	wantStaysWrapped(t, "awskms:///"+server.CreateKey(t, "ECC_NIST_P256"), store, wrapped, kms.ErrKeyState)
	wantStaysWrapped(t, "awskms:///alias/none", store, wrapped, kms.ErrNotFound)
	wantStaysWrapped(t, "awskms:///"+arn+"?version=1", store, wrapped, nil, "no versions")
	server.Alter(func(op string, answer map[string]any) {
		if op == "Decrypt" {
			answer["KeyId"] = other
		}
	})
	wantStaysWrapped(t, "awskms:///"+arn, store, wrapped, kms.ErrKeyMismatch, "instead of")
	server.SetState(arn, "Disabled")
	wantStaysWrapped(t, "awskms:///"+arn, store, wrapped, kms.ErrKeyState, "DisabledException")
}

func TestOthersDoNotUnwrap(t *testing.T) {
	t.Parallel()
	server := vaulttest.New(t)
	store := newStore(t, kms.StoreConfig{Endpoint: server.URL})
	for _, uri := range []string{"gcpkms://x", "file:/x", "pkcs11:x", "", "sealing"} {
		wantStaysWrapped(t, uri, store, "vault:v1:AAAA", kms.ErrScheme, "awskms://, hashivault://, openbao://")
	}
}
