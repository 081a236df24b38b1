package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/sealwright/sealwright/engine/policy"
)

// The PEM types of private keys that are read. The SIGSTORE types are cosign's:
// PKCS#8 inside a secretbox whose key scrypt derives from the password.
const (
	pemPKCS8     = "PRIVATE KEY"
	pemEC        = "EC PRIVATE KEY"
	pemSM2       = "SM2 PRIVATE KEY" // what OpenSSL calls SEC 1 of an SM2 key
	pemRSA       = "RSA PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
	pemSigstore  = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign    = "ENCRYPTED COSIGN PRIVATE KEY" // before cosign 1.13
)

var privateTypes = []string{pemPKCS8, pemEC, pemSM2, pemRSA, pemEncrypted, pemSigstore, pemCosign}

// parsePrivateKey reads the one private key in data. password is asked at most
// once, and only for an encrypted key. No error quotes what data holds.
func parsePrivateKey(data []byte, password func() ([]byte, error)) (crypto.Signer, error) {
	block, err := privateBlock(data)
	if err != nil {
		return nil, err
	}
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New(`the old PEM encryption (Proc-Type: ENCRYPTED) is not supported; convert the key with "openssl pkcs8 -topk8"`)
	}
	switch block.Type {
	case pemEC, pemSM2:
		return parseSEC1(block.Bytes)
	case pemRSA:
		return signerOf(x509.ParsePKCS1PrivateKey(block.Bytes))
	case pemPKCS8:
		return parsePKCS8(block.Bytes)
	}
	der, err := decrypt(block, password)
	if err != nil {
		return nil, err
	}
	return parsePKCS8(der)
}

// privateBlock returns the only private key of a PEM file. It steps over the
// EC PARAMETERS that OpenSSL writes before a key, and over certificates and
// public keys kept beside one.
func privateBlock(data []byte) (*pem.Block, error) {
	var found *pem.Block
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if !strings.HasSuffix(block.Type, pemPKCS8) {
			continue
		}
		if found != nil {
			return nil, errors.New("more than one private key; allowed: one")
		}
		found = block
	}
	if found == nil {
		return nil, fmt.Errorf("no private key in PEM form; allowed: %s", oneOf(privateTypes))
	}
	for _, t := range privateTypes {
		if found.Type == t {
			return found, nil
		}
	}
	return nil, fmt.Errorf("PEM block is %s; allowed: %s", shorten(found.Type), oneOf(privateTypes))
}

// decrypt opens an encrypted PEM block and returns the PKCS#8 in it.
func decrypt(block *pem.Block, password func() ([]byte, error)) ([]byte, error) {
	if password == nil {
		return nil, fmt.Errorf("the key is encrypted and no password is configured: %w", ErrPassword)
	}
	secret, err := password()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassword, err)
	}
	if block.Type == pemEncrypted {
		return decryptPKCS8(block.Bytes, secret)
	}
	if !json.Valid(block.Bytes) {
		return nil, errors.New("the encrypted key is damaged: it is not JSON")
	}
	der, err := encrypted.Decrypt(block.Bytes, secret)
	if err != nil {
		return nil, errWrongPassword
	}
	return der, nil
}

// errWrongPassword hides what the libraries say: neither of them tells a wrong
// password from a changed file.
var errWrongPassword = fmt.Errorf("wrong password or damaged key: %w", ErrPassword)

// parseSEC1 reads an EC PRIVATE KEY. As in parseSPKI, gmsm is trusted with SM2
// alone.
func parseSEC1(der []byte) (crypto.Signer, error) {
	key, err := x509.ParseECPrivateKey(der)
	if err == nil {
		return key, nil
	}
	if key, smErr := smx509.ParseTypedECPrivateKey(der); smErr == nil {
		if key, ok := key.(*sm2.PrivateKey); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("decoding the private key: %w", err)
}

// parsePKCS8 reads an unencrypted PKCS#8 key. As in parseSPKI, gmsm is trusted
// with SM2 alone.
func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err == nil {
		return signerOf(key, nil)
	}
	if key, smErr := smx509.ParsePKCS8PrivateKey(der); smErr == nil {
		if key, ok := key.(*sm2.PrivateKey); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("decoding the private key: %w", err)
}

func signerOf(key any, err error) (crypto.Signer, error) {
	if err != nil {
		return nil, fmt.Errorf("decoding the private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign: %w; allowed: %s", key, ErrKeyMismatch, allowedKeys)
	}
	return signer, nil
}

// rsaSizes are the sizes [Generate] makes, in bits; they are what the cloud key
// stores offer.
const rsaSizes = "2048, 3072, 4096"

// Generate makes a new key for alg and returns it as unencrypted PKCS#8 PEM,
// and its public half as SPKI PEM. bits is the size of an RSA key: 2048, 3072
// or 4096, 0 meaning 3072; it must be 0 for every other algorithm. Hand the
// private half to [EncryptKey] or [WriteKeyPair], and to nothing else.
func Generate(alg policy.Algorithm, bits int) (privatePEM, publicPEM []byte, err error) {
	key, err := generate(alg, bits)
	if err != nil {
		return nil, nil, err
	}
	public, err := NewPublicKey(key.Public(), alg)
	if err != nil {
		return nil, nil, err
	}
	der, err := marshalPKCS8(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the new key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der}), public.PEM(), nil
}

func generate(alg policy.Algorithm, bits int) (crypto.Signer, error) {
	family := alg.Family()
	isRSA := family == policy.RSAPSS || family == policy.RSAPKCS1
	switch {
	case family == "":
		return nil, fmt.Errorf("algorithm %q is not allowed; allowed: %s", alg, oneOf(policy.Algorithms))
	case !isRSA && bits != 0:
		return nil, fmt.Errorf("%s fixes the size of its key; a size in bits is for RSA only", alg)
	case alg == policy.ECDSASHA256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case alg == policy.ECDSASHA384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case family == policy.SM2:
		return sm2.GenerateKey(rand.Reader)
	}
	switch bits {
	case 0:
		bits = 3072
	case 2048, 3072, 4096:
	default:
		return nil, fmt.Errorf("RSA key size %d is not allowed; allowed: %s", bits, rsaSizes)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

func marshalPKCS8(key crypto.Signer) ([]byte, error) {
	if key, ok := key.(*sm2.PrivateKey); ok {
		return smx509.MarshalPKCS8PrivateKey(key)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// EncryptKey encrypts a private key in PEM form with password, in the format of
// "cosign generate-key-pair", which cosign 2 and later can read. The password
// must not be empty.
func EncryptKey(privatePEM, password []byte) ([]byte, error) {
	if len(password) == 0 {
		return nil, fmt.Errorf("an empty password protects nothing: %w", ErrPassword)
	}
	key, err := parsePrivateKey(privatePEM, nil)
	if err != nil {
		return nil, err
	}
	der, err := marshalPKCS8(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	sealed, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, fmt.Errorf("encrypting the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: sealed}), nil
}

// oneOf lists allowed values for an error message.
func oneOf(values []string) string { return strings.Join(values, ", ") }

// shorten quotes a name that a file chose, so that no message is flooded by it.
func shorten(name string) string {
	if len(name) > 40 {
		name = name[:40] + "…"
	}
	return fmt.Sprintf("%q", name)
}
