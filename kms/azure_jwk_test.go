package kms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// RFC 7518 wants coordinates in full length; not all who write JSON keep zeros
// at their beginning.
func TestAzureCoordinates(t *testing.T) {
	curves := map[azkeys.CurveName]elliptic.Curve{azkeys.CurveNameP256: elliptic.P256(), azkeys.CurveNameP384: elliptic.P384()}
	for name, curve := range curves {
		kty := azkeys.KeyTypeEC
		for _, short := range []int{0, 1} {
			private, x, y := keyWithZeros(t, curve, short)
			key := &azkeys.JSONWebKey{Kty: &kty, Crv: &name, X: bytes.TrimLeft(x, "\x00"), Y: bytes.TrimLeft(y, "\x00")}
			public, err := azurePublicKey(key, "")
			if err != nil {
				t.Fatal(err)
			}
			if want := newPublic(t, private); public.Fingerprint() != want.Fingerprint() {
				t.Errorf("%s: read another key", name)
			}
			for what, spoilt := range map[string]*azkeys.JSONWebKey{
				"too long":  {Kty: &kty, Crv: &name, X: append([]byte{0}, x...), Y: y},
				"none":      {Kty: &kty, Crv: &name},
				"elsewhere": {Kty: &kty, Crv: &name, X: y, Y: x},
			} {
				if _, err := azurePublicKey(spoilt, ""); err == nil || what == "too long" && !errors.Is(err, ErrKeyMismatch) {
					t.Errorf("%s: coordinates that are %s: %v", name, what, err)
				}
			}
		}
	}
}

// keyWithZeros makes a key one of whose coordinates begins with a zero.
func keyWithZeros(t *testing.T, curve elliptic.Curve, which int) (key *ecdsa.PrivateKey, x, y []byte) {
	t.Helper()
	for {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := (len(point) - 1) / 2
		x, y := point[1:1+half], point[1+half:]
		if [][]byte{x, y}[which][0] == 0 {
			return key, x, y
		}
	}
}

func newPublic(t *testing.T, key *ecdsa.PrivateKey) *PublicKey {
	t.Helper()
	public, err := NewPublicKey(key.Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	return public
}
