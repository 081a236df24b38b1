package oci_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/artifacts"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// elsewhere signs an upload with a key that is not the house's, and returns its public
// half.
func (s *site) elsewhere(t *testing.T, d *artifacts.CreateContainerImageSignatureDetails, algorithm string) *kms.PublicKey {
	t.Helper()
	key := callerKeys()["nobody"]
	text, err := base64.StdEncoding.DecodeString(*d.Message)
	if err != nil {
		t.Fatal(err)
	}
	hash := map[string]crypto.Hash{"224": crypto.SHA224, "256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[4:7]]
	h := hash.New()
	h.Write(text)
	signature, err := rsa.SignPSS(rand.Reader, key, hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		t.Fatal(err)
	}
	d.Signature = common.String(base64.StdEncoding.EncodeToString(signature))
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), policy.RSAPSSSHA256)
	if err != nil {
		t.Fatal(err)
	}
	return public
}
