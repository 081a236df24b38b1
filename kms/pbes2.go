package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // HMAC-SHA-1 is PBKDF2's default in PKCS#5, not our choice.
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/sm4"
)

// maxIterations bounds what opening a key may cost: a few seconds. OpenSSL
// writes 2048, careful users some hundred thousand.
const maxIterations = 5_000_000

var errDamagedPKCS8 = errors.New("the encrypted key is damaged")

// decryptPKCS8 opens an ENCRYPTED PRIVATE KEY (RFC 8018, PBES2 with PBKDF2 and
// a CBC cipher), which is what OpenSSL writes. The libraries at hand panic on a
// damaged file and let it name any number of iterations; this does neither.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errDamagedPKCS8
	}
	if oid := info.Algorithm.Algorithm.String(); oid != "1.2.840.113549.1.5.13" {
		return nil, fmt.Errorf("key encryption %s is not supported; allowed: PBES2", oid)
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if rest, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil || len(rest) > 0 {
		return nil, errDamagedPKCS8
	}
	newBlock, size, err := pbesCipher(scheme.Cipher.Algorithm)
	if err != nil {
		return nil, err
	}
	key, err := pbesKey(scheme.KDF, password, size)
	if err != nil {
		return nil, err
	}
	block, err := newBlock(key)
	if err != nil {
		return nil, fmt.Errorf("preparing the cipher: %w", err)
	}
	var iv []byte
	if rest, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil || len(rest) > 0 {
		return nil, errDamagedPKCS8
	}
	return openCBC(block, iv, info.Data)
}

func pbesCipher(oid asn1.ObjectIdentifier) (newBlock func([]byte) (cipher.Block, error), keySize int, err error) {
	switch oid.String() {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16, nil
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24, nil
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32, nil
	case "1.2.156.10197.1.104.2":
		return sm4.NewCipher, 16, nil
	}
	return nil, 0, fmt.Errorf("key cipher %s is not supported; allowed: AES-128-CBC, AES-192-CBC, AES-256-CBC, SM4-CBC", oid)
}

func pbesKey(kdf pkix.AlgorithmIdentifier, password []byte, size int) ([]byte, error) {
	if oid := kdf.Algorithm.String(); oid != "1.2.840.113549.1.5.12" {
		return nil, fmt.Errorf("key derivation %s is not supported; allowed: PBKDF2", oid)
	}
	var params struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &params); err != nil || len(rest) > 0 {
		return nil, errDamagedPKCS8
	}
	if params.Iterations < 1 || params.Iterations > maxIterations {
		return nil, fmt.Errorf("key derivation has %d iterations; allowed: 1 to %d", params.Iterations, maxIterations)
	}
	if params.KeyLength != 0 && params.KeyLength != size {
		return nil, errDamagedPKCS8
	}
	prf, err := pbesPRF(params.PRF.Algorithm)
	if err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(prf, string(password), params.Salt, params.Iterations, size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key's key: %w", err)
	}
	return key, nil
}

func pbesPRF(oid asn1.ObjectIdentifier) (func() hash.Hash, error) {
	switch oid.String() {
	case "", "1.2.840.113549.2.7":
		return sha1.New, nil
	case "1.2.840.113549.2.8":
		return sha256.New224, nil
	case "1.2.840.113549.2.9":
		return sha256.New, nil
	case "1.2.840.113549.2.10":
		return sha512.New384, nil
	case "1.2.840.113549.2.11":
		return sha512.New, nil
	case "1.2.156.10197.1.401.2":
		return sm3.New, nil
	}
	return nil, fmt.Errorf("key derivation hash %s is not supported; allowed: HMAC with SHA-1, SHA-2 or SM3", oid)
}

// openCBC decrypts and removes the PKCS#7 padding. Wrong padding almost always
// means a wrong password; no attacker watches how long a local file takes.
func openCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errDamagedPKCS8
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > size {
		return nil, errWrongPassword
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad {
			return nil, errWrongPassword
		}
	}
	plain = plain[:len(plain)-pad]
	// One wrong password in 256 yields fitting padding, but no ASN.1.
	var sequence asn1.RawValue
	if rest, err := asn1.Unmarshal(plain, &sequence); err != nil || len(rest) > 0 {
		return nil, errWrongPassword
	}
	return plain, nil
}
