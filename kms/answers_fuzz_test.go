package kms

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2/model"

	"github.com/sealwright/sealwright/engine/policy"
)

// What a store's answer says in r‖s is either refused or DER that is read the
// same way.
func FuzzDEROfPair(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add([]byte(strings.Repeat("\xff", 96)))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, pair []byte) {
		der, err := derOfPair(pair)
		if (err == nil) != (len(pair) > 0 && len(pair)%2 == 0) {
			t.Errorf("%x: error is %v", pair, err)
		}
		if err == nil && (len(der) < 8 || der[0] != 0x30) {
			t.Errorf("%x became %x", pair, der)
		}
	})
}

// An error's body is anybody's bytes.
func FuzzCloudErrors(f *testing.F) {
	f.Add([]byte(`{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down"}}`))
	f.Add([]byte(`{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := gcpStatus(body)
		oauthCode, oauthMessage := oauthRefusal(body)
		for _, err := range []*StoreError{
			{Kind: gcpKind(code, 400), Code: code, Message: message},
			{Kind: ErrDenied, Code: oauthCode, Message: oauthMessage},
		} {
			if err.Kind == nil || len(err.Error()) > len(code)+len(oauthCode)+2*maxWords {
				t.Errorf("error of %d bytes for a body of %d", len(err.Error()), len(body))
			}
		}
	})
}

// FuzzCloudAnswers checks that no answer brings a vendor's library down, and
// that an error of an answer is a StoreError.
func FuzzCloudAnswers(f *testing.F) {
	for _, body := range []string{
		`{"key_id":"0d0466b0-e727-4d9c-b35d-f84bb474a37f","signature":"AAAA"}`, `{"key_info":{"key_id":"x","key_spec":"EC_P256"}}`,
		`{"error":{"error_code":"KMS.0209","error_msg":"The key has been disabled."}}`, `{"error_code":"APIGW.0308","error_msg":"x"}`,
		`{"Response":{"Signature":"AAAA","RequestId":"x"}}`, `{"Response":{"Error":{"Code":"InternalError","Message":"x"}}}`,
		`{"code":4000,"message":"x","codeDesc":"y"}`, `{"error":{"details":[{"error_code":1}]}}`, "null", "[]", "{", "", `{"key_info":{"key_spec":5}}`,
	} {
		f.Add(200, body)
		f.Add(400, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		client := &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
		})}
		for name, err := range askAll(t, client) {
			if _, is := err.(*StoreError); err != nil && !is { //nolint:errorlint // exactly this type is meant
				t.Errorf("%s: %d %q is an error of type %T: %v", name, status, body, err, err)
			}
			if err == nil && (status >= 300 || !strings.HasPrefix(strings.TrimSpace(body), "{")) {
				t.Errorf("%s: %d %q was accepted", name, status, body)
			}
		}
	})
}

// askAll has each library that reads answers behind an exchange ask something.
func askAll(t *testing.T, client *http.Client) map[string]error {
	t.Helper()
	var out struct{ Signature string }
	key := &accessKey{id: "i", secret: "s"}
	huawei := &huaweiClient{endpoint: "http://127.0.0.1", project: "p", exchange: &exchange{client: client, refusal: huaweiRefusal}}
	tencent := &tencentClient{region: "r", scheme: "HTTP", host: "127.0.0.1", exchange: &exchange{client: client, refusal: tencentRefusal}}
	alibaba := &alibabaClient{protocol: "http", host: "127.0.0.1", exchange: &exchange{client: client, refusal: alibabaRefusal}}
	return map[string]error{
		"Huawei's describe": huawei.send(t.Context(), key, func(sdk *huaweikms.KmsClient) error {
			_, err := sdk.ListKeyDetail(&model.ListKeyDetailRequest{Body: &model.OperateKeyRequestBody{KeyId: "k"}})
			return err
		}),
		"Huawei's sign": huawei.send(t.Context(), key, func(sdk *huaweikms.KmsClient) error {
			_, err := sdk.Sign(&model.SignRequest{Body: &model.SignRequestBody{KeyId: "k"}})
			return err
		}),
		"Tencent": tencent.send(t.Context(), key, "DescribeKey", map[string]any{"KeyId": "k"}, &out),
		"Alibaba": alibaba.send(t.Context(), "DescribeKey", map[string]string{"KeyId": "k"}, key, &out),
	}
}

// FuzzTencentPublic checks that a key that is read has an SPKI that reads back.
func FuzzTencentPublic(f *testing.F) {
	f.Add("MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw==")
	f.Add("LS0tLS1CRUdJTg==")
	f.Fuzz(func(t *testing.T, text string) {
		public, err := parseTencentPublic(text, "")
		if err != nil {
			return
		}
		again, err := ParsePublicKey(public.PEM(), public.Algorithm())
		if err != nil || again.Fingerprint() != public.Fingerprint() {
			t.Errorf("%q was read as a key that does not read back: %v", text, err)
		}
	})
}

// The answers of GB/T 32918.5's example, as Tencent would write them.
func TestTencentPublicOfSM2(t *testing.T) {
	const key = "MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAECfnfMR5UIaFQ3X0WHkvFxnIXn60YM/wHa7CP81bzUCDM6kkM4md1pS3G6nGMwapgCu0F+/NeCEpmMvYHLamtEw=="
	const signed = "MEYCIQD1oDsGSNLEYw7qxRPhu4GhWUTaOCfVt0FDrH6s7ucgswIhALG2qinfIS/YdjGCvA1CHKG7kDj9H39C1IQLacSFu8Gq"
	public, err := parseTencentPublic(key, policy.SM2SM3)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := decodeSignature(signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := public.Verify([]byte("message digest"), signature); err != nil {
		t.Error(err)
	}
}

func FuzzOCIConfig(f *testing.F) {
	f.Add([]byte("[DEFAULT]\nuser=ocid1.user.oc1..a\nkey_file = ~/.oci/key.pem\n"), "DEFAULT")
	f.Add([]byte("# comment\r\n[A]\r\nx=1\r\n[B]\r\nx=2=3\r\n"), "B")
	f.Add([]byte("[A\nx\n=\n[]\n"), "")
	f.Fuzz(func(t *testing.T, data []byte, profile string) {
		settings, err := parseOCIConfig(data, profile)
		if (settings == nil) == (err == nil) {
			t.Fatalf("settings %v and error %v", settings, err)
		}
		for name, value := range settings {
			if strings.ContainsAny(name+value, "\n") || name != strings.ToLower(name) {
				t.Errorf("setting %q=%q", name, value)
			}
		}
	})
}

func FuzzRefusals(f *testing.F) {
	f.Add(400, []byte(`{"Code":"SignatureDoesNotMatch","Message":"no. server string to sign is: secret"}`))
	f.Add(404, []byte(`{"code":"NotAuthorizedOrNotFound","message":"no"}`))
	f.Add(503, []byte(`<html>`))
	f.Add(500, []byte(`{"code":"a\nforged line","message":"\r\n"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, e := range []*StoreError{ociRefusal(status, body), alibabaRefusal(status, body), huaweiRefusal(status, body), tencentRefusal(status, body)} {
			if e == nil && status != http.StatusOK {
				t.Errorf("%d %q is no refusal", status, body)
			}
			if e == nil {
				continue
			}
			if e.Kind == nil || strings.ContainsAny(e.Error(), "\r\n") {
				t.Errorf("kind %v: %q", e.Kind, e.Error())
			}
		}
	})
}

// Whatever a server answers, it is an error or a key that fits.
func FuzzVaultDescription(f *testing.F) {
	f.Add([]byte(`{"type":"ecdsa-p256","latest_version":1,"keys":{"1":{"public_key":"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7IwZ2ovBGqSVZ9WJsTjVSXpGn6mp\n-----END PUBLIC KEY-----\n"}}}`))
	f.Add([]byte(`{"type":"aes256-gcm96","latest_version":1,"keys":{"1":1577836800}}`))
	f.Add([]byte(`{"type":"rsa-2048","latest_version":2,"min_encryption_version":2,"soft_deleted":true,"keys":{}}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d vaultDescription
		if decodeVault(json.RawMessage(data), &d) != nil {
			return
		}
		for _, alg := range []policy.Algorithm{"", policy.ECDSASHA256, policy.RSAPSSSHA256} {
			public, err := d.public(d.Latest, alg)
			if (err == nil) == (public == nil) {
				t.Errorf("got %v and %v", public, err)
			}
		}
	})
}

func FuzzVaultResults(f *testing.F) {
	f.Add([]byte(`{"batch_results":[{"signature":"vault:v1:AAAA","key_version":1,"reference":""}]}`), 1)
	f.Add([]byte(`{"batch_results":[{"error":"refusing to use soft-deleted key","key_version":0}]}`), 1)
	f.Add([]byte(`{"batch_results":[{},{"signature":"vault:v2:AAAA"},{"signature":"::"}]}`), 3)
	f.Add([]byte(`{"signature":"vault:v1:AAAA"}`), 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = 1 + int(uint(n)%maxVaultBatch)
		v := &vaultKey{version: 1}
		results, err := v.results(&vaultAnswer{Data: data}, n)
		if err == nil && len(results) != n {
			t.Errorf("%d results for %d digests", len(results), n)
		}
		for _, r := range results {
			if r.err != nil && r.signature != nil {
				t.Errorf("a result is both %x and %v", r.signature, r.err)
			}
		}
	})
}
