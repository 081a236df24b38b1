package kms

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
	"github.com/emmansun/gmsm/smx509"

	"github.com/sealwright/sealwright/engine/policy"
)

// The example of GB/T 32918.5, with every step between the message and the signature.
const (
	sm2Private   = "3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8"
	sm2Identity  = "B2E14C5C79C6DF5B85F4FE7ED8DB7A262B9DA7E07CCB0EA9F4747B8CCDA8A4F3" // Z_A
	sm2Digest    = "F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640" // e
	sm2Nonce     = "59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21" // k
	sm2R         = "F5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3"
	sm2S         = "B1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA"
	sm2Signature = "MEYCIQD1oDsGSNLEYw7qxRPhu4GhWUTaOCfVt0FDrH6s7ucgswIhALG2qinfIS/YdjGCvA1CHKG7kDj9H39C1IQLacSFu8Gq"
	sm2Public    = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw=="
	sm2Message   = "message digest"
	sm3OfABC     = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
)

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func number(t *testing.T, text string) *big.Int {
	t.Helper()
	return new(big.Int).SetBytes(fromHex(t, text))
}

// sm2File is the standard's key as a file has it, read as one.
func sm2File(t *testing.T) *fileKey {
	t.Helper()
	private, err := sm2.NewPrivateKeyFromInt(number(t, sm2Private))
	if err != nil {
		t.Fatal(err)
	}
	der, err := smx509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsePrivateKey(asPEM(pemPKCS8, der), nil)
	if err != nil {
		t.Fatal(err)
	}
	public, err := NewPublicKey(key.Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	return &fileKey{key: key, public: public}
}

// identity is Z_A, made of the user id, the curve and the key as the standard says.
func identity(key *sm2.PrivateKey) [sm3.Size]byte {
	curve := key.Params()
	bits := len(sm2UserID) * 8
	text := append([]byte{byte(bits >> 8), byte(bits)}, sm2UserID...)
	a := new(big.Int).Sub(curve.P, big.NewInt(3))
	for _, n := range []*big.Int{a, curve.B, curve.Gx, curve.Gy, key.X, key.Y} {
		text = append(text, n.FillBytes(make([]byte, 32))...)
	}
	return sm3.Sum(text)
}

// TestSM2Digest: what we have an SM2 key sign is what the standard says, from SM3 on.
func TestSM2Digest(t *testing.T) {
	if abc := sm3.Sum([]byte("abc")); !bytes.Equal(abc[:], fromHex(t, sm3OfABC)) {
		t.Fatalf("SM3 of abc is %x", abc)
	}
	key := sm2File(t)
	if got := base64.StdEncoding.EncodeToString(key.public.DER()); got != sm2Public || key.public.Algorithm() != policy.SM2SM3 {
		t.Errorf("the private key has the public key %s, of %s", got, key.public.Algorithm())
	}
	z := identity(key.key.(*sm2.PrivateKey))
	if !bytes.Equal(z[:], fromHex(t, sm2Identity)) {
		t.Errorf("Z_A is %X", z)
	}
	e := sm3.Sum(append(z[:], sm2Message...))
	digest, err := key.public.digest([]byte(sm2Message))
	if err != nil || !bytes.Equal(digest, fromHex(t, sm2Digest)) || !bytes.Equal(digest, e[:]) {
		t.Errorf("e is %X, %v", digest, err)
	}
}

// TestSM2Signature: with the standard's nonce, our digest and the key that we read come
// to the standard's signature; it is written as it says, and so is what we sign.
func TestSM2Signature(t *testing.T) {
	key := sm2File(t)
	digest, err := key.public.digest([]byte(sm2Message))
	if err != nil {
		t.Fatal(err)
	}
	nonce, err := sm2.NewPrivateKeyFromInt(number(t, sm2Nonce)) // its public half is [k]G
	if err != nil {
		t.Fatal(err)
	}
	private := key.key.(*sm2.PrivateKey)
	order := private.Params().N
	r := new(big.Int).SetBytes(digest)
	r.Mod(r.Add(r, nonce.X), order)
	s := new(big.Int).Mul(r, private.D)
	s.Mul(s.Sub(nonce.D, s), new(big.Int).ModInverse(new(big.Int).Add(private.D, big.NewInt(1)), order))
	s.Mod(s, order)
	if r.Cmp(number(t, sm2R)) != 0 || s.Cmp(number(t, sm2S)) != 0 {
		t.Errorf("r is %X, s is %X", r, s)
	}
	der, err := derOfPair(slices.Concat(fromHex(t, sm2R), fromHex(t, sm2S)))
	if err != nil || base64.StdEncoding.EncodeToString(der) != sm2Signature || len(der) != 72 {
		t.Errorf("as DER: %x, %v", der, err)
	}
	signed, err := key.Sign(t.Context(), []byte(sm2Message))
	if err != nil {
		t.Fatal(err)
	}
	standard, err := ParsePublicKey([]byte("-----BEGIN PUBLIC KEY-----\n"+sm2Public+"\n-----END PUBLIC KEY-----\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := standard.Verify([]byte(sm2Message), signed); err != nil {
		t.Error(err)
	}
}

// TestCosignSignature: the pair of numbers in cosign's example is written as cosign has
// it, the second with a zero before it so that it is not negative.
func TestCosignSignature(t *testing.T) {
	const want = "MEUCIBKI9FIC+YD3m/lWViyPxsJsbnIHj86sSbb7L3qvpEFoAiEA2ZChO/67CuAPQKJLBVsAc7bs9hBK8RpsdfjBsByGKJM="
	signature, err := decodeSignature(want)
	if err != nil || len(signature) != 71 {
		t.Fatalf("%x, %v", signature, err)
	}
	der, err := derOfPair(slices.Concat(signature[4:36], signature[39:]))
	if err != nil || base64.StdEncoding.EncodeToString(der) != want {
		t.Errorf("%x, %v", der, err)
	}
}
