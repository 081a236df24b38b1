package kms_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/kms"
)

// A documented is a key store that has one key and one answer to everything it is asked
// to sign, as a vendor's documentation has them.
type documented struct {
	key       string
	public    *kms.PublicKey
	signature string
	asked     map[string]string // to sign
}

func newDocumented(t *testing.T, key string, spki []byte, signature []byte) *documented {
	t.Helper()
	public, err := kms.ParsePublicKey(block("PUBLIC KEY", spki), "")
	if err != nil {
		t.Fatal(err)
	}
	return &documented{key: key, public: public, signature: base64.StdEncoding.EncodeToString(signature)}
}

// tencent answers as Tencent Cloud KMS does.
func (d *documented) tencent(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what is missing is missed below
	answer := map[string]any{}
	switch r.Header.Get("X-TC-Action") {
	case "DescribeKey":
		answer["KeyMetadata"] = map[string]string{"KeyId": d.key, "KeyState": "Enabled", "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_X"}
	case "GetPublicKey":
		answer["KeyId"], answer["PublicKey"] = d.key, base64.StdEncoding.EncodeToString(d.public.DER())
	case "SignByAsymmetricKey":
		_ = json.Unmarshal(body, &d.asked)
		answer["Signature"] = d.signature
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Response": answer})
}

// alibaba answers as Alibaba Cloud KMS does.
func (d *documented) alibaba(w http.ResponseWriter, r *http.Request) {
	const version = "2ab1a983-7072-4bbc-a582-584b5bd8"
	answer := map[string]any{"KeyId": d.key, "KeyVersionId": version}
	switch r.Header.Get("X-Acs-Action") {
	case "DescribeKey":
		answer["KeyMetadata"] = map[string]string{"KeyId": d.key, "KeyState": "Enabled", "KeyUsage": "SIGN/VERIFY", "PrimaryKeyVersion": version}
	case "GetPublicKey":
		answer["PublicKey"] = string(d.public.PEM())
	case "AsymmetricSign":
		d.asked = map[string]string{}
		for name, values := range r.URL.Query() {
			d.asked[name] = fmt.Sprint(values[0])
		}
		answer["Value"] = d.signature
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// signs fails the test unless our client of the store signs a message, and asks as
// documented.
func (d *documented) signs(t *testing.T, scheme string, serve http.HandlerFunc, message string, want map[string]string) {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	auth := kms.Auth{AccessKey: "key", SecretKeyFile: writeFile(t, []byte("secret\n"))}
	store := newStore(t, kms.StoreConfig{Endpoint: server.URL, Region: "ap-guangzhou", Auth: auth})
	s := openConfig(t, kms.Config{URI: scheme + d.key, Store: store})
	signature, err := s.Sign(t.Context(), []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.StdEncoding.EncodeToString(signature); got != d.signature {
		t.Errorf("signature %s, want %s", got, d.signature)
	}
	for name, value := range want {
		if d.asked[name] != value {
			t.Errorf("%s asks for a signature with %s %q, want %q", scheme, name, d.asked[name], value)
		}
	}
}

// TestStoresSignTheSM2Vector: stores that take digests are sent the e of GB/T 32918.5
// for its message, and their answer is the standard's signature.
func TestStoresSignTheSM2Vector(t *testing.T) {
	e, err := hex.DecodeString("F0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640")
	if err != nil {
		t.Fatal(err)
	}
	digest := base64.StdEncoding.EncodeToString(e)
	d := newDocumented(t, "22d79428-61d9-11ea-a3c8-525400a1b2c3", decode64(t, sm2SPKI), decode64(t, sm2Signature))
	d.signs(t, "tencentkms://", d.tencent, sm2Message, map[string]string{"Algorithm": "SM2DSA", "MessageType": "DIGEST", "Message": digest})
	d.signs(t, "alikms://", d.alibaba, sm2Message, map[string]string{"Algorithm": "SM2DSA", "Digest": digest})
}

// signedBy makes a key of a curve, and its signature of a message.
func signedBy(t *testing.T, curve elliptic.Curve, hash crypto.Hash, message string) (spki, signature []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.NewPublicKey(&key.PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	if signature, err = crypto.SignMessage(key, rand.Reader, []byte(message), hash); err != nil {
		t.Fatal(err)
	}
	return public.DER(), signature
}

// TestTencentExample: the message of Tencent's examples, which is "test" and a line end,
// is sent as they send it where a message is sent at all.
func TestTencentExample(t *testing.T) {
	const message = "test\n"
	spki, signature := signedBy(t, elliptic.P384(), crypto.SHA384, message)
	d := newDocumented(t, "22d79428-61d9-11ea-a3c8-525400a1b2c3", spki, signature)
	d.signs(t, "tencentkms://", d.tencent, message, map[string]string{"Algorithm": "ECDSA384_SHA384", "MessageType": "RAW", "Message": "dGVzdAo="})
}

// TestAlibabaExample: the digest in Alibaba's examples is that of "Hello world"; the key
// in them is masked, and no key as long as it is.
func TestAlibabaExample(t *testing.T) {
	const message, masked = "Hello world", "5c438b18-05be-40ad-b6c2-3be6752c****"
	spki, signature := signedBy(t, elliptic.P256(), crypto.SHA256, message)
	d := newDocumented(t, strings.ReplaceAll(masked, "*", "0"), spki, signature)
	d.signs(t, "alikms://", d.alibaba, message, map[string]string{"KeyId": d.key, "Algorithm": "ECDSA_SHA_256", "Digest": "ZOyIygCyaOW6GjVnihtTFtIS9PNmskdyMlNKiuyjfzw="})
	if _, err := kms.Open(t.Context(), kms.Config{URI: "alikms://" + masked, Store: newStore(t, kms.StoreConfig{})}); err == nil || !strings.Contains(err.Error(), "names no key") {
		t.Errorf("the masked key: %v", err)
	}
}
