package awstest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/emmansun/gmsm/smx509"

	"github.com/sealwright/sealwright/kms/kmstest/loopback"
)

// kindOf is the kind of key that a key spec names.
func kindOf(spec string) string {
	return map[string]string{
		"ECC_NIST_P256": "P-256", "ECC_NIST_P384": "P-384", "SM2": "SM2",
		"RSA_2048": "RSA-2048", "RSA_3072": "RSA-3072", "RSA_4096": "RSA-4096",
	}[spec]
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
	alg := loopback.Algorithm{Hash: loopback.HashOf(in.SigningAlgorithm), PSS: strings.HasPrefix(in.SigningAlgorithm, "RSASSA_PSS")}
	if len(in.Message) != alg.Size() {
		return nil, &refusal{"ValidationException", fmt.Sprintf("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)}
	}
	signature, err := alg.Sign(k.private, in.Message)
	if err != nil {
		return nil, &refusal{"KMSInternalException", err.Error()}
	}
	return map[string]any{"KeyId": arn, "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm}, nil
}
