package kms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// The example of GB/T 32918.5, signed with the default user id.
const (
	sm2SPKI      = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw=="
	sm2Signature = "MEYCIQD1oDsGSNLEYw7qxRPhu4GhWUTaOCfVt0FDrH6s7ucgswIhALG2qinfIS/YdjGCvA1CHKG7kDj9H39C1IQLacSFu8Gq"
	sm2Message   = "message digest"
)

func decode64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestSM2StandardVector(t *testing.T) {
	der := decode64(t, sm2SPKI)
	public, err := kms.ParsePublicKey(block("PUBLIC KEY", der), "")
	if err != nil {
		t.Fatal(err)
	}
	if public.Algorithm() != policy.SM2SM3 || public.Bits() != 256 {
		t.Errorf("got %s of %d bits, want SM2DSA_SM3 of 256", public.Algorithm(), public.Bits())
	}
	if !bytes.Equal(public.DER(), der) {
		t.Errorf("DER changed: %x", public.DER())
	}
	signature := decode64(t, sm2Signature)
	if err := public.Verify([]byte(sm2Message), signature); err != nil {
		t.Errorf("the standard's signature: %v", err)
	}
	if err := public.Verify([]byte("Message digest"), signature); !errors.Is(err, kms.ErrInvalidSignature) {
		t.Errorf("another message: %v, want ErrInvalidSignature", err)
	}
}

func TestFingerprintIsOfTheSPKI(t *testing.T) {
	public, err := kms.ParsePublicKey(block("PUBLIC KEY", decode64(t, sm2SPKI)), policy.SM2SM3)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(decode64(t, sm2SPKI))
	if diff := cmp.Diff(hex.EncodeToString(sum[:]), public.Fingerprint()); diff != "" {
		t.Error(diff)
	}
}

func TestPublicKeyIsACopy(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.NewPublicKey(&key.PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message")
	signature, err := crypto.SignMessage(key, rand.Reader, message, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	clear(public.DER())
	clear(public.PEM())
	key.X.SetInt64(1)
	if err := public.Verify(message, signature); err != nil {
		t.Error(err)
	}
	if _, err := kms.ParsePublicKey(public.PEM(), ""); err != nil {
		t.Error(err)
	}
}

func ec(t *testing.T, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func sm2Key(t *testing.T) crypto.PublicKey {
	t.Helper()
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

// rsaOf returns an RSA public key of that many bits that nobody can sign with.
func rsaOf(bits uint, exponent int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: exponent}
}

func TestKeyMustFitTheAlgorithm(t *testing.T) {
	p256, p384, p521, sm := ec(t, elliptic.P256()), ec(t, elliptic.P384()), ec(t, elliptic.P521()), sm2Key(t)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	tests := []struct {
		name string
		key  crypto.PublicKey
		alg  policy.Algorithm
		want policy.Algorithm // or
		err  string           // what the error names
	}{
		{"P-256", p256, "", policy.ECDSASHA256, ""},
		{"P-256 named", p256, policy.ECDSASHA256, policy.ECDSASHA256, ""},
		{"P-384", p384, "", policy.ECDSASHA384, ""},
		{"SM2", sm, "", policy.SM2SM3, ""},
		{"smallest RSA", rsaOf(2048, 65537), policy.RSAPSSSHA512, policy.RSAPSSSHA512, ""},
		{"largest RSA", rsaOf(8192, 3), policy.RSAPKCS1SHA384, policy.RSAPKCS1SHA384, ""},

		{"P-256 with SHA-384", p256, policy.ECDSASHA384, "", "ECDSA_SHA_384 needs a P-384 key, this is a P-256 key"},
		{"P-384 with SHA-256", p384, policy.ECDSASHA256, "", "ECDSA_SHA_256 needs a P-256 key, this is a P-384 key"},
		{"SM2 as ECDSA", sm, policy.ECDSASHA256, "", "ECDSA_SHA_256 needs a P-256 key, this is an SM2 key"},
		{"P-256 as SM2", p256, policy.SM2SM3, "", "SM2DSA_SM3 needs an SM2 key, this is a P-256 key"},
		{"RSA as ECDSA", rsaOf(2048, 65537), policy.ECDSASHA256, "", "this is an RSA key of 2048 bits"},
		{"P-256 as RSA", p256, policy.RSAPSSSHA256, "", "RSA_PSS_SHA_256 needs an RSA key"},
		{"RSA without algorithm", rsaOf(3072, 65537), "", "", "allowed: RSA_PSS_SHA_256, RSA_PSS_SHA_384, RSA_PSS_SHA_512, RSA_PKCS1_SHA_256, RSA_PKCS1_SHA_384, RSA_PKCS1_SHA_512"},
		{"RSA too small", rsaOf(2047, 65537), policy.RSAPSSSHA256, "", "an RSA key of 2047 bits"},
		{"RSA too large", rsaOf(8193, 65537), policy.RSAPSSSHA256, "", "allowed: 2048 to 8192 bits"},
		{"RSA exponent 1", rsaOf(2048, 1), policy.RSAPSSSHA256, "", "exponent"},
		{"RSA exponent even", rsaOf(2048, 65536), policy.RSAPSSSHA256, "", "exponent"},
		{"P-521", p521, "", "", "key on curve P-521"},
		{"Ed25519", ed, "", "", "ed25519.PublicKey"},
		{"off the curve", off, "", "", "encoding a P-256 key"},
		{"nil", nil, "", "", "<nil>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			public, err := kms.NewPublicKey(tt.key, tt.alg)
			if tt.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if public.Algorithm() != tt.want {
					t.Errorf("algorithm %s, want %s", public.Algorithm(), tt.want)
				}
				return
			}
			if !errors.Is(err, kms.ErrKeyMismatch) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want ErrKeyMismatch naming %q", err, tt.err)
			}
		})
	}
}

func TestEmptyKeysAndUnknownAlgorithms(t *testing.T) {
	for name, key := range map[string]crypto.PublicKey{
		"nil ECDSA": (*ecdsa.PublicKey)(nil), "ECDSA": &ecdsa.PublicKey{}, "P-256": &ecdsa.PublicKey{Curve: elliptic.P256()},
		"nil RSA": (*rsa.PublicKey)(nil), "RSA": &rsa.PublicKey{},
	} {
		if _, err := kms.NewPublicKey(key, policy.ECDSASHA256); err == nil {
			t.Errorf("empty %s key was accepted", name)
		}
	}
	_, err := kms.NewPublicKey(ec(t, elliptic.P256()), "ECDSA_SHA_512")
	if err == nil || !strings.Contains(err.Error(), `"ECDSA_SHA_512"`) || !strings.Contains(err.Error(), "ECDSA_SHA_384, RSA_PSS_SHA_256") {
		t.Errorf("unknown algorithm: got %v, want it and the allowed ones named", err)
	}
}

func TestParsePublicKeyForms(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	want, err := kms.NewPublicKey(&key.PublicKey, policy.RSAPSSSHA256)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	for name, data := range map[string][]byte{
		"SPKI":                  want.PEM(),
		"PKCS#1":                block("RSA PUBLIC KEY", pkcs1),
		"PKCS#1 headed as SPKI": block("PUBLIC KEY", pkcs1),
		"SPKI headed as PKCS#1": block("RSA PUBLIC KEY", want.DER()),
		"CRLF":                  bytes.ReplaceAll(want.PEM(), []byte("\n"), []byte("\r\n")),
		"text before":           append([]byte("Public-Key: (2048 bit)\n"), want.PEM()...),
		"no line end at last":   bytes.TrimSpace(want.PEM()),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := kms.ParsePublicKey(data, policy.RSAPSSSHA256)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.Fingerprint(), got.Fingerprint()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	spki := block("PUBLIC KEY", decode64(t, sm2SPKI))
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "no PEM block"},
		{"no PEM", []byte("hello"), "no PEM block"},
		{"a private key", newKey(t, algKey{alg: policy.ECDSASHA256}), `"PRIVATE KEY"`},
		{"a certificate", block("CERTIFICATE", []byte{1}), `"CERTIFICATE"`},
		{"two keys", append(bytes.Clone(spki), spki...), "more than one PEM block"},
		{"garbage", block("PUBLIC KEY", []byte{1, 2, 3}), "decoding the public key"},
		{"trailing octets", block("PUBLIC KEY", append(decode64(t, sm2SPKI), 0)), "decoding the public key"},
		{"too large", make([]byte, 1<<20+1), "at most 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, parse := range map[string]func() error{
				"ParsePublicKey": func() error { _, err := kms.ParsePublicKey(tt.data, ""); return err },
				"Candidates":     func() error { _, err := kms.Candidates(tt.data); return err },
			} {
				if err := parse(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want an error with %q", name, err, tt.want)
				}
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	tests := []struct {
		name string
		key  crypto.PublicKey
		alg  policy.Algorithm // any that fits
		want []policy.Algorithm
	}{
		{"P-256", ec(t, elliptic.P256()), "", []policy.Algorithm{policy.ECDSASHA256}},
		{"P-384", ec(t, elliptic.P384()), "", []policy.Algorithm{policy.ECDSASHA384}},
		{"SM2", sm2Key(t), "", []policy.Algorithm{policy.SM2SM3}},
		{"RSA", rsaOf(2048, 65537), policy.RSAPKCS1SHA256, []policy.Algorithm{
			policy.RSAPSSSHA256, policy.RSAPSSSHA384, policy.RSAPSSSHA512,
			policy.RSAPKCS1SHA256, policy.RSAPKCS1SHA384, policy.RSAPKCS1SHA512,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			public, err := kms.NewPublicKey(tt.key, tt.alg)
			if err != nil {
				t.Fatal(err)
			}
			candidates, err := kms.Candidates(public.PEM())
			if err != nil {
				t.Fatal(err)
			}
			var got []policy.Algorithm
			for _, c := range candidates {
				got = append(got, c.Algorithm())
				if c.Fingerprint() != public.Fingerprint() {
					t.Errorf("%s has another fingerprint", c.Algorithm())
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCandidatesRefuseAWeakKey(t *testing.T) {
	weak := rsaOf(1024, 65537)
	der, err := x509.MarshalPKIXPublicKey(weak)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kms.Candidates(block("PUBLIC KEY", der)); !errors.Is(err, kms.ErrKeyMismatch) {
		t.Errorf("got %v, want ErrKeyMismatch", err)
	}
}

// Exactly one of a key's candidates accepts a signature: no algorithm verifies
// what another one signed.
func TestOnlyTheSigningAlgorithmVerifies(t *testing.T) {
	for _, k := range oneEach() {
		t.Run(k.String(), func(t *testing.T) {
			s := open(t, newKey(t, k), k.alg)
			message := []byte("message")
			signature := sign(t, s, message)
			candidates, err := kms.Candidates(s.Public().PEM())
			if err != nil {
				t.Fatal(err)
			}
			var accepted []policy.Algorithm
			for _, c := range candidates {
				if c.Verify(message, signature) == nil {
					accepted = append(accepted, c.Algorithm())
				}
			}
			if diff := cmp.Diff([]policy.Algorithm{k.alg}, accepted); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Key stores do not all say how long a salt they use.
func TestPSSVerifiesWithAnySalt(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.NewPublicKey(&key.PublicKey, policy.RSAPSSSHA256)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("message"))
	for _, salt := range []int{1, 20, 32, 222} {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if err := public.Verify([]byte("message"), signature); err != nil {
			t.Errorf("salt of %d bytes: %v", salt, err)
		}
	}
}

// r‖s, BER and padded integers are somebody else's signatures, not ours.
func TestECDSAVerifyIsStrict(t *testing.T) {
	for _, alg := range []policy.Algorithm{policy.ECDSASHA256, policy.ECDSASHA384, policy.SM2SM3} {
		t.Run(string(alg), func(t *testing.T) {
			s := open(t, newKey(t, algKey{alg: alg}), alg)
			message := []byte("message")
			der := sign(t, s, message)
			body := der[2:] // r and s; shorter than 128 octets for all three
			rLen := int(body[1])
			r, ss := body[2:2+rLen], body[4+rLen:]
			size := s.Public().Bits() / 8
			raw := append(new(big.Int).SetBytes(r).FillBytes(make([]byte, size)), new(big.Int).SetBytes(ss).FillBytes(make([]byte, size))...)
			for name, signature := range map[string][]byte{
				"r‖s":             raw,
				"long length":     append([]byte{0x30, 0x81, byte(len(body))}, body...),
				"padded integer":  append(append([]byte{0x30, byte(len(body) + 1), 2, byte(rLen + 1), 0}, r...), body[2+rLen:]...),
				"trailing octet":  append(bytes.Clone(der), 0),
				"octet inside":    append(append([]byte{0x30, byte(len(body) + 1)}, body...), 0),
				"no sequence":     body,
				"empty":           {},
				"zero r and s":    {0x30, 6, 2, 1, 0, 2, 1, 0},
				"indefinite form": append(append([]byte{0x30, 0x80}, body...), 0, 0),
			} {
				if err := s.Public().Verify(message, signature); !errors.Is(err, kms.ErrInvalidSignature) {
					t.Errorf("%s: got %v, want ErrInvalidSignature", name, err)
				}
			}
		})
	}
}
