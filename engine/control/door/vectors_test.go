package door

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	tc3ID     = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"
	tc3Secret = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
	docAgent  = "huaweicloud-usdk-go/3.0; os/Debian_GNU/Linux#12_(bookworm)#amd64 go/go1.26.8; app/2e9e03c3-a26f-4579-a4b0-797eae2f240f"
)

// lastLine is the hash of the canonical request in a string to sign.
func lastLine(text []byte) string { return string(text[strings.LastIndexByte(string(text), '\n')+1:]) }

// The vectors of Tencent's documentation of Signature Method v3.
func TestVectorsTC3(t *testing.T) {
	const body = `{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}`
	post := sent{http.MethodPost, "/", "cvm.tencentcloudapi.com", body, http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "X-Tc-Timestamp": {"1551113065"}, "X-Tc-Action": {"DescribeInstances"}}}
	get := sent{http.MethodGet, "/?Limit=10&Offset=0", "cvm.tencentcloudapi.com", "", http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "X-Tc-Timestamp": {"1539084154"}}}
	if got, want := hexSHA256([]byte(body)), "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"; got != want {
		t.Errorf("hash of the body %s, want %s", got, want)
	}
	for _, v := range []struct {
		name, date, secret, signed, canonical, signature string
		req                                              sent
	}{
		{"POST", "2019-02-25", tc3Secret, "content-type;host",
			"5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031",
			"72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168", post},
		{"POST, action signed", "2019-02-25", "Gu5t9xGARNpq86cd98joQYCN3*******", "content-type;host;x-tc-action",
			"7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84",
			"be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3", post},
		{"GET", "2018-10-09", tc3Secret, "content-type;host", "",
			"5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474", get},
	} {
		t.Run(v.name, func(t *testing.T) {
			req := v.req.set("Authorization", "TC3-HMAC-SHA256 Credential="+tc3ID+"/"+v.date+"/cvm/tc3_request, SignedHeaders="+v.signed+", Signature="+v.signature)
			a, err := parseTC3(req.request(), "cvm")
			if err != nil {
				t.Fatal(err)
			}
			wantVector(t, &a, req, v.secret, v.canonical, v.signature)
			d := open(t, Config{Clock: (&clock{now: a.at}).Now, Credentials: []Credential{{Name: "doc", Role: Viewer, AccessKey: tc3ID, Secret: []byte(v.secret)}}})
			if caller, _, err := d.TC3(req.request(), "cvm"); err != nil || caller.Name != "doc" {
				t.Errorf("caller %+v, %v", caller, err)
			}
		})
	}
}

// wantVector wants a request to have that canonical form, if it is known, and that
// signature.
func wantVector(t *testing.T, a interface {
	text(r *http.Request, body []byte) ([]byte, error)
	sign(secret, text []byte) []byte
}, req sent, secret, canonical, signature string) {
	t.Helper()
	text, err := a.text(req.request(), []byte(req.body))
	if err != nil {
		t.Fatal(err)
	}
	if got := lastLine(text); canonical != "" && got != canonical {
		t.Errorf("hash of the canonical request %s, want %s", got, canonical)
	}
	if got := hex.EncodeToString(a.sign([]byte(secret), text)); got != signature {
		t.Errorf("signature %s, want %s", got, signature)
	}
}

// The vectors of Huawei's API Request Signing Guide, of its SDK's own tests, and of
// what its SDK and Open Telekom Cloud's sent.
func TestVectorsSDKHMAC(t *testing.T) {
	const (
		vpcs    = "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0"
		project = "0123456789abcdef0123456789abcdef"
		signs   = "/v2/" + project + "/apigw/instances/eddc4d25480b4cd6b512f270a1b8b341/signs"
		docAK   = "QTWAOYTTINDUT2QVKYUC"
		docSK   = "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
		scope   = "Credential=" + accessKey + "/20261122///sdk_request"
	)
	json := http.Header{"Content-Type": {"application/json"}}
	otc := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"golangsdk/2.0.0"}}
	for _, v := range []struct {
		name, who, secret, date, signed, canonical, signature string
		req                                                   sent
	}{
		{"documentation", "Access=" + docAK, docSK, "20191115T033655Z", "content-type;host;x-sdk-date",
			"b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a",
			"7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
			sent{http.MethodGet, vpcs, "service.region.example.com", "", json}},
		{"documentation, another time", "Access=" + docAK, docSK, "20190329T074551Z", "content-type;host;x-sdk-date", "",
			"d66f6a6c536e984129e13a4060f465225909fd126d212cb25e9e292346aae036",
			sent{http.MethodGet, vpcs, "service.region.example.com", "", json}},
		{"the SDK's own GET", "Access=AccessKey", "SecretKey", "20060102T150405Z", "x-sdk-date", "",
			"5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
			sent{http.MethodGet, "/path?limit=1", "example.huaweicloud.com", "", json}},
		{"the SDK's own POST", "Access=AccessKey", "SecretKey", "20060102T150405Z", "x-sdk-date", "",
			"cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59",
			sent{http.MethodPost, "/path?key=value", "example.huaweicloud.com", `{"Name":"test","Id":1}` + "\n", json}},
		{"from the wire", "Access=" + accessKey, secretKey, "20261122T021956Z", "user-agent;x-project-id;x-sdk-date", "",
			"e8f18b9b92988c041f4852cd0830350be48c40c8e289e6ed3445dc1bcf66e721",
			sent{http.MethodGet, "/v2/" + project + "/instances/8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111/signature/policies?limit=100&offset=0",
				"127.0.0.1:18473", "", http.Header{"X-Project-Id": {project}, "User-Agent": {docAgent}}}},
		{"scoped GET from the wire", scope, secretKey, "20261122T021957Z", "accept;host;user-agent;x-sdk-date", "",
			"770515e86eb134ca81bbaa1e2064acc208e52af2dc42ca5391b632069b354062",
			sent{http.MethodGet, signs, "127.0.0.1:18473", "", otc}},
		{"scoped POST from the wire", scope, secretKey, "20261122T021957Z", "accept;content-type;host;user-agent;x-sdk-date", "",
			"b60e8c630c551fbb3b8725e8bb9f5275020ed516c5cc42086ef1332e8b411e5b",
			sent{http.MethodPost, signs, "127.0.0.1:18473",
				`{"name":"otc_hmac_383075713","sign_type":"hmac","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}` + "\n", otc}},
	} {
		t.Run(v.name, func(t *testing.T) {
			req := v.req.set("X-Sdk-Date", v.date).set("Authorization", "SDK-HMAC-SHA256 "+v.who+", SignedHeaders="+v.signed+", Signature="+v.signature)
			a, err := parseSDK(req.request())
			if err != nil {
				t.Fatal(err)
			}
			wantVector(t, &a, req, v.secret, v.canonical, v.signature)
		})
	}
}

func TestVectorQuery(t *testing.T) {
	const want = "enable=true&limit=1&multi=1&multi=2&multi=3&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29"
	for _, query := range []string{
		"test=%E4%B8%80+(%26%3D%3F!%23%25.*)&path=/tmp/123&multi=3&multi=1&multi=2&limit=1&enable=true",
		"enable=true&limit=1&multi=3&multi=2&multi=1&path=%2ftmp%2f123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29",
	} {
		r := sent{http.MethodGet, "/?" + query, "localhost", "", http.Header{}}.request()
		if got := plainQuery(r.URL.Query()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The vectors of the OCI SDK's own tests, common/http_signer_test.go. Their key has
// 1024 bits, which a door does not take.
func TestVectorsOCI(t *testing.T) {
	const vectorKeyID = "ocid1.tenancy.oc1..aaaaaaaaba3pv6wkcr4jqae5f15p2b2m2yt2j6rx32uzr4h25vqstifsfdsq/" +
		"ocid1.user.oc1..aaaaaaaat5nvwcna5j6aqzjcaty5eqbb6qt2jvpkanghtgdaqedqw3rynjq/20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
	public := publicKey(t, "testdata/vector-oci.pem")
	for _, v := range []struct {
		name, headers, signature, textHas string
		req                               sent
	}{
		{"GET", "date (request-target) host",
			"GBas7grhyrhSKHP6AVIj/h5/Vp8bd/peM79H9Wv8kjoaCivujVXlpbKLjMPeDUhxkFIWtTtLBj3sUzaFj34XE6YZAHc9r2DmE4pMwOAy/kiITcZxa1oHPOeRheC0jP2dqbTll8fmTZVwKZOKHYPtrLJIJQHJjNvxFWeHQjMaR7M=",
			"(request-target): get /20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&compartmentId=",
			sent{http.MethodGet, "/20160918/instances?availabilityDomain=Pjwf%3A%20PHX-AD-1&compartmentId=ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa" +
				"&displayName=TeamXInstances&volumeId=ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q",
				"iaas.us-phoenix-1.oraclecloud.com", "", http.Header{}}},
		{"POST", "date (request-target) host content-length content-type x-content-sha256",
			"Mje8vIDPlwIHmD/cTDwRxE7HaAvBg16JnVcsuqaNRim23fFPgQfLoOOxae6WqKb1uPjYEl0qIdazWaBy/Ml8DRhqlocMwoSXv0fbukP8J5N80LCmzT/FFBvIvTB91XuXI3hYfP9Zt1l7S6ieVadHUfqBedWH0itrtPJBgKmrWso=",
			"\ncontent-length: 316\ncontent-type: application/json\nx-content-sha256: V9Z20UJTvkvpJ50flBzKE32+6m2zJjweHpDMX/U4Uy0=",
			sent{http.MethodPost, "/20160918/volumeAttachments", "iaas.us-phoenix-1.oraclecloud.com", `{
    "compartmentId": "ocid1.compartment.oc1..aaaaaaaam3we6vgnherjq5q2idnccdflvjsnog7mlr6rtdb25gilchfeyjxa",
    "instanceId": "ocid1.instance.oc1.phx.abuw4ljrlsfiqw6vzzxb43vyypt4pkodawglp3wqxjqofakrwvou52gb6s5a",
    "volumeId": "ocid1.volume.oc1.phx.abyhqljrgvttnlx73nmrwfaux7kcvzfs3s66izvxf2h4lgvyndsdsnoiwr5q"
}`, http.Header{"Content-Type": {"application/json"}, "X-Content-Sha256": {"V9Z20UJTvkvpJ50flBzKE32+6m2zJjweHpDMX/U4Uy0="}}}},
	} {
		t.Run(v.name, func(t *testing.T) {
			req := v.req.set("Date", "Thu, 05 Jan 2014 21:31:40 GMT").set("Authorization",
				`Signature version="1",headers="`+v.headers+`",keyId="`+vectorKeyID+`",algorithm="rsa-sha256",signature="`+v.signature+`"`)
			a, err := parseOCI(req.request())
			if err != nil {
				t.Fatal(err)
			}
			if want := time.Date(2014, 1, 5, 21, 31, 40, 0, time.UTC); a.keyID != vectorKeyID || !a.at.Equal(want) {
				t.Errorf("key id %s, time %s", a.keyID, a.at)
			}
			text, err := a.text(req.request(), []byte(req.body))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), v.textHas) {
				t.Errorf("signing string\n%s\nwant it to have\n%s", text, v.textHas)
			}
			sum := sha256.Sum256(text)
			if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], a.signature); err != nil {
				t.Error(err)
			}
			if got := base64.StdEncoding.EncodeToString(a.signature); got != v.signature {
				t.Errorf("signature %s, want %s", got, v.signature)
			}
		})
	}
}

func publicKey(tb testing.TB, name string) *rsa.PublicKey {
	tb.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	block, _ := pem.Decode(data) // a panic says as well that it is no PEM
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return key.(*rsa.PublicKey)
}
