package awstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that algorithms names
	_ "crypto/sha512"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func generate(spec string) (crypto.Signer, error) {
	switch spec {
	case "ECC_NIST_P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECC_NIST_P384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA_3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA_4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "SM2":
		return sm2.GenerateKey(rand.Reader)
	}
	return nil, fmt.Errorf("key spec %q; allowed: ECC_NIST_P256, ECC_NIST_P384, RSA_2048, RSA_3072, RSA_4096, SM2", spec)
}

// algorithms is what a key of the spec can do, PKCS#1 v1.5 first, so that whoever
// takes the first one takes a wrong one.
func algorithms(spec string) []string {
	switch spec {
	case "ECC_NIST_P256":
		return []string{"ECDSA_SHA_256"}
	case "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	case "SM2":
		return []string{"SM2DSA"}
	}
	return []string{
		"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
		"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
	}
}

func (k *key) metadata(arn string) map[string]any {
	return map[string]any{
		"AWSAccountId": account, "Arn": arn, "KeyId": path.Base(arn), "CreationDate": 1.7e9,
		"Enabled": k.state == "Enabled", "KeyManager": "CUSTOMER", "KeySpec": k.spec, "KeyState": k.state,
		"KeyUsage": k.usage, "Origin": "AWS_KMS", "MultiRegion": false, "SigningAlgorithms": algorithms(k.spec),
	}
}

func (k *key) usable(arn string) *refusal {
	switch {
	case k.state == "Disabled":
		return &refusal{"DisabledException", arn + " is disabled."}
	case k.state != "Enabled":
		return &refusal{"KMSInvalidStateException", arn + " is pending deletion."}
	case k.usage != "SIGN_VERIFY":
		return &refusal{"InvalidKeyUsageException", arn + " key usage is " + k.usage + " which is not valid for Sign."}
	}
	return nil
}

func (k *key) publicKey(arn string) (map[string]any, *refusal) {
	if refused := k.usable(arn); refused != nil {
		return nil, refused
	}
	der, err := smx509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return nil, &refusal{"KMSInternalException", err.Error()}
	}
	return map[string]any{
		"KeyId": arn, "PublicKey": der, "KeySpec": k.spec, "KeyUsage": k.usage, "SigningAlgorithms": algorithms(k.spec),
	}, nil
}

func (k *key) sign(arn string, in input) (map[string]any, *refusal) {
	if refused := k.usable(arn); refused != nil {
		return nil, refused
	}
	if in.MessageType != "DIGEST" || !slices.Contains(algorithms(k.spec), in.SigningAlgorithm) {
		return nil, &refusal{"InvalidKeyUsageException", "Algorithm " + in.SigningAlgorithm + " is incompatible with key spec " + k.spec + "."}
	}
	hash := hashOf(in.SigningAlgorithm)
	size := 32 // SM3
	if hash != 0 {
		size = hash.Size()
	}
	if len(in.Message) != size {
		return nil, &refusal{"ValidationException", fmt.Sprintf("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)}
	}
	var opts crypto.SignerOpts = hash
	if strings.HasPrefix(in.SigningAlgorithm, "RSASSA_PSS") {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := k.private.Sign(rand.Reader, in.Message, opts)
	if err != nil {
		return nil, &refusal{"KMSInternalException", err.Error()}
	}
	return map[string]any{"KeyId": arn, "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

func hashOf(algorithm string) crypto.Hash {
	switch {
	case strings.HasSuffix(algorithm, "SHA_256"):
		return crypto.SHA256
	case strings.HasSuffix(algorithm, "SHA_384"):
		return crypto.SHA384
	case strings.HasSuffix(algorithm, "SHA_512"):
		return crypto.SHA512
	}
	return 0
}

// Throttle answers that there were too many requests.
func Throttle(w http.ResponseWriter) {
	WriteError(w, http.StatusBadRequest, "ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.")
}
