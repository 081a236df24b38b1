package kms

import (
	"io"
	"net/http"
	"strings"
	"testing"

	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2/model"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"

	"github.com/sealwright/sealwright/engine/policy"
)

// FuzzCloudKeyURIs checks that what a URI is read as is what it says, and that
// a refusal does not repeat it.
func FuzzCloudKeyURIs(f *testing.F) {
	for _, uri := range []string{
		"huaweikms://0d0466b0-e727-4d9c-b35d-f84bb474a37f", "huaweikms://alias/release", "huaweikms://alias/a:b/c_d-e",
		"tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3", "tencentkms://22d79428-61d9-11ea-a3c8-525400a1b2c3?version=1",
		"huaweikms://", "tencentkms:", "22d79428-61d9-11ea-a3c8-525400a1b2c3", "huaweikms://user:password@host/key",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		for scheme, parse := range map[string]func(string) (string, error){"huaweikms://": parseHuawei, "tencentkms://": parseTencent} {
			name, err := parse(uri)
			switch {
			case err == nil && scheme+name != uri:
				t.Errorf("%q was read as %q", uri, name)
			case err == nil && strings.ContainsAny(name, "?#@% \n\"\\"):
				t.Errorf("%q was read as %q, with odd characters", uri, name)
			case err != nil && err.Error() != refusal(parse, "") && err.Error() != refusal(parse, scheme+"?"):
				t.Errorf("the error depends on the URI, which may hold a secret: %v", err)
			}
		}
	})
}

func refusal(parse func(string) (string, error), uri string) string {
	_, err := parse(uri)
	return err.Error()
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
	huawei := &huaweiClient{endpoint: "http://127.0.0.1", project: "p"}
	tencent := &tencentClient{region: "r", scheme: "HTTP", host: "127.0.0.1"}
	f.Fuzz(func(t *testing.T, status int, body string) {
		transport := roundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
		})
		for name, ask := range map[string]func(*libraryCall) error{
			"Huawei's describe": func(seen *libraryCall) error {
				return askHuawei(t, huawei, seen, transport, func(sdk *huaweikms.KmsClient) error {
					_, err := sdk.ListKeyDetail(&model.ListKeyDetailRequest{Body: &model.OperateKeyRequestBody{KeyId: "k"}})
					return err
				})
			},
			"Huawei's sign": func(seen *libraryCall) error {
				return askHuawei(t, huawei, seen, transport, func(sdk *huaweikms.KmsClient) error {
					_, err := sdk.Sign(&model.SignRequest{Body: &model.SignRequestBody{KeyId: "k"}})
					return err
				})
			},
			"Tencent": func(seen *libraryCall) error {
				request, response := tchttp.NewCommonRequest("kms", tencentVersion, "DescribeKey"), tchttp.NewCommonResponse()
				request.SetContext(t.Context())
				err := tencent.sdk(seen.over(t.Context(), transport), accessKey{id: "i", secret: "s"}).Send(request, response)
				if err != nil {
					return tencentError(err, seen)
				}
				var out struct{ Signature string }
				return decodeTencent(response.GetBody(), &out, seen)
			},
		} {
			var seen libraryCall
			err := ask(&seen)
			if _, is := err.(*StoreError); err != nil && !is { //nolint:errorlint // exactly this type is meant
				t.Errorf("%s: %d %q is an error of type %T: %v", name, status, body, err, err)
			}
			if err == nil && (seen.status >= 300 || !strings.HasPrefix(strings.TrimSpace(body), "{")) {
				t.Errorf("%s: %d %q was accepted", name, status, body)
			}
		}
	})
}

func askHuawei(t *testing.T, c *huaweiClient, seen *libraryCall, transport http.RoundTripper, ask func(*huaweikms.KmsClient) error) error {
	t.Helper()
	sdk, err := c.sdk(seen.over(t.Context(), transport), accessKey{id: "i", secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return huaweiError(ask(sdk), seen)
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
