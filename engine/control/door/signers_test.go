package door

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	ocicommon "github.com/oracle/oci-go-sdk/v65/common"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

func hashOf(token string) [32]byte { return sha256.Sum256([]byte(token)) }

// schemes are changes as the vendors' SDKs send them over loopback; the scoped form,
// whose SDK is no dependency, is signed by scopedSign, which wire_test.go holds to
// what that SDK sent.
func schemes(tb testing.TB) []scheme {
	tb.Helper()
	at := time.Now().Truncate(time.Second).UTC()
	return []scheme{
		tencent(tb), huawei(tb, at), scoped(at), oracle(tb, at),
		{name: "Token", enter: (*Door).Token, at: at,
			good: sent{http.MethodPost, "/v2/p/signs", "localhost", `{"name":"a"}`, http.Header{"X-Auth-Token": {bearer}}}},
	}
}

func enterTCR(d *Door, r *http.Request) (Caller, []byte, error) { return d.TC3(r, "tcr") }

// tencent is what Tencent's common client sends.
func tencent(tb testing.TB) scheme {
	tb.Helper()
	req := tencentSends(tb, "CreateSignaturePolicy", func(*profile.ClientProfile) {})
	return scheme{name: "TC3", enter: enterTCR, good: req, at: tencentTime(tb, req), window: 5 * time.Minute}
}

func tencentTime(tb testing.TB, req sent) time.Time {
	tb.Helper()
	a := tc3{}
	if err := a.parseTime(req.request()); err != nil {
		tb.Fatal(err)
	}
	return a.at
}

func tencentSends(tb testing.TB, action string, change func(*profile.ClientProfile)) sent {
	tb.Helper()
	server := newCapture(tb, `{"Response":{"RequestId":"1"}}`)
	p := profile.NewClientProfile()
	p.HttpProfile.Scheme, p.HttpProfile.Endpoint = "HTTP", strings.TrimPrefix(server.URL, "http://")
	change(p)
	client := common.NewCommonClient(common.NewCredential(accessKey, secretKey), "ap-guangzhou", p)
	req := tchttp.NewCommonRequest("tcr", "2019-09-24", action)
	if err := req.SetActionParameters(map[string]any{"RegistryId": "tcr-f7g1ir99", "Name": "a & b"}); err != nil {
		tb.Fatal(err)
	}
	if err := client.Send(req, tchttp.NewCommonResponse()); err != nil {
		tb.Fatal(err)
	}
	return server.last(tb)
}

// huawei is what the signer of Huawei's SDK signs.
func huawei(tb testing.TB, at time.Time) scheme {
	tb.Helper()
	req := huaweiSign(tb, sent{http.MethodPost, "/v2/p/instances/i/signature/policies?limit=100&name=a%20b", "swr.example.com", `{"name":"a"}`,
		http.Header{"User-Agent": {"sdk/3.0"}, "X-Project-Id": {"p"}}}, at)
	return scheme{name: "Huawei", enter: (*Door).SDKHMAC, good: req, at: at, window: 15 * time.Minute}
}

// huaweiSign signs with Huawei's SDK: all headers that there are.
func huaweiSign(tb testing.TB, req sent, at time.Time) sent {
	tb.Helper()
	u, err := url.ParseRequestURI(req.uri)
	if err != nil {
		tb.Fatal(err)
	}
	b := request.NewHttpRequestBuilder().WithMethod(req.method).WithEndpoint("http://" + req.host).WithPath(u.Path)
	for name, values := range u.Query() {
		b.AddQueryParam(name, reflect.ValueOf(values))
	}
	if req.body != "" {
		b.WithBody("body", req.body)
	}
	b.AddHeaderParam("X-Sdk-Date", at.UTC().Format(sdkDateForm))
	for name, values := range req.header {
		b.AddHeaderParam(name, values[0])
	}
	built := b.Build()
	added, err := signer.Sign(built, accessKey, secretKey)
	if err != nil {
		tb.Fatal(err)
	}
	return req.with(func(s *sent) {
		for name, value := range built.GetHeaderParams() {
			s.header.Set(name, value)
		}
		for name, value := range added {
			s.header.Set(name, value)
		}
	})
}

func scoped(at time.Time) scheme {
	return scheme{name: "scoped", enter: (*Door).SDKHMAC, at: at, window: 15 * time.Minute, good: scopedSign(sent{
		http.MethodPost, "/v2/p/apigw/instances/i/signs?b=2&A=1", "apig.example.com:8443", `{"name":"a"}` + "\n",
		http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"golangsdk/2.0.0  x"}}}, at)}
}

// scopedSign signs as gophertelekomcloud does: all headers, and host.
func scopedSign(req sent, at time.Time) sent {
	req = req.set("X-Sdk-Date", at.UTC().Format("20060102T150405Z"))
	names := []string{"host"}
	for name := range req.header {
		names = append(names, strings.ToLower(name))
	}
	sort.Strings(names)
	return scopedSignNames(req, at, names)
}

func scopedSignNames(req sent, at time.Time, names []string) sent {
	u, err := url.ParseRequestURI(req.uri)
	if err != nil {
		panic(err)
	}
	var headers strings.Builder
	for _, name := range names {
		value := strings.Join(strings.Fields(req.header.Get(name)), " ")
		if name == "host" {
			value = req.host
		}
		headers.WriteString(name + ":" + value + "\n")
	}
	hash := sha256.Sum256([]byte(req.body))
	query := scopedTestQuery(u.Query())
	if req.method == http.MethodPost && req.body == "" {
		hash, query = sha256.Sum256([]byte(u.Query().Encode())), ""
	}
	path := strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(u.Path))
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	list := strings.Join(names, ";")
	canonical := sha256.Sum256([]byte(strings.Join([]string{req.method, path, query, headers.String(), list, hex.EncodeToString(hash[:])}, "\n")))
	day := at.UTC().Format("20060102")
	text := strings.Join([]string{"SDK-HMAC-SHA256", req.header.Get("X-Sdk-Date"), day + "///sdk_request", hex.EncodeToString(canonical[:])}, "\n")
	key := []byte("SDK" + secretKey)
	for _, part := range []string{day, "", "", "sdk_request", text} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return req.set("Authorization", "SDK-HMAC-SHA256 Credential="+accessKey+"/"+day+"///sdk_request, SignedHeaders="+list+", Signature="+hex.EncodeToString(key))
}

func scopedTestQuery(values url.Values) string {
	var names []string
	for name := range values {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool { return strings.ToLower(names[i]) < strings.ToLower(names[j]) })
	for i, name := range names {
		names[i] = url.QueryEscape(name) + "=" + strings.ReplaceAll(url.QueryEscape(values.Get(name)), "+", "%20")
	}
	return strings.Join(names, "&")
}

// oracle is what the signer of OCI's SDK sends over loopback.
func oracle(tb testing.TB, at time.Time) scheme {
	tb.Helper()
	req := oracleSends(tb, http.MethodPost, "/20160918/container/imageSignatures?x=sha256%3A1", `{"message":"m"}`, http.Header{"Date": {at.Format(http.TimeFormat)}}, nil)
	return scheme{name: "OCI", enter: (*Door).OCI, good: req, at: at, window: 5 * time.Minute}
}

type ociKey struct{}

func (ociKey) PrivateRSAKey() (*rsa.PrivateKey, error) { return rsaKeys()[0], nil }
func (ociKey) KeyID() (string, error)                  { return keyID, nil }

// oracleSends signs generic headers, by default OCI's, and those of a body.
func oracleSends(tb testing.TB, method, uri, body string, header http.Header, generic []string) sent {
	tb.Helper()
	server := newCapture(tb, "{}")
	req, err := http.NewRequestWithContext(tb.Context(), method, server.URL+uri, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	sign := ocicommon.DefaultRequestSigner(ociKey{})
	if generic != nil {
		sign = ocicommon.RequestSigner(ociKey{}, generic, ocicommon.DefaultBodyHeaders())
	}
	if err := sign.Sign(req); err != nil {
		tb.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return server.last(tb)
}
