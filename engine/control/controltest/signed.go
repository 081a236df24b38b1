package controltest

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	otc "github.com/opentelekomcloud/gophertelekomcloud"
)

// HuaweiSigned returns the Authorization that Huawei's own signer gives a request, with
// that body, of the host and the X-Sdk-Date that it has. Other headers stay unsigned.
func HuaweiSigned(t testing.TB, r *http.Request, body []byte, key, secret string) string {
	t.Helper()
	b := request.NewHttpRequestBuilder().WithMethod(r.Method).WithEndpoint("http://"+r.URL.Host).WithPath(r.URL.Path).WithBody("body", string(body))
	for name, values := range r.URL.Query() {
		b.AddQueryParam(name, reflect.ValueOf(values))
	}
	b.AddHeaderParam("Host", r.URL.Host).AddHeaderParam("X-Sdk-Date", r.Header.Get("X-Sdk-Date"))
	added, err := signer.Sign(b.Build(), key, secret)
	if err != nil {
		t.Fatal(err)
	}
	return added["Authorization"]
}

var plainForm = regexp.MustCompile(`^SDK-HMAC-SHA256 Access=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})$`)

// SignedBy returns nil for a request without query that was received with that body, if
// a key signed it with its host and date. It judges as the vendors' guide for backends
// does, with the hashes of Open Telekom Cloud's SDK and nothing of our own. The SDKs have
// no judge, and their signers cannot stand in: Huawei's leaves Content-Type out.
func SignedBy(r *http.Request, body []byte, key, secret string) error {
	said := plainForm.FindStringSubmatch(r.Header.Get("Authorization"))
	if said == nil || said[1] != key {
		return errors.New("not signed by the key in the plain form")
	}
	names := strings.Split(said[2], ";")
	var headers strings.Builder
	signed := map[string]string{}
	for _, name := range names {
		value := strings.TrimSpace(r.Header.Get(name))
		if name == "host" {
			value = r.Host
		}
		signed[name] = value
		fmt.Fprintf(&headers, "%s:%s\n", name, value)
	}
	if signed["host"] == "" || signed["x-sdk-date"] == "" {
		return fmt.Errorf("host or x-sdk-date is not signed: %s", said[2])
	}
	canonical := strings.Join([]string{r.Method, strings.TrimSuffix(r.URL.EscapedPath(), "/") + "/", "", headers.String(), said[2], hex.EncodeToString(otc.HashSha256(body))}, "\n")
	text := "SDK-HMAC-SHA256\n" + signed["x-sdk-date"] + "\n" + hex.EncodeToString(otc.HashSha256([]byte(canonical)))
	if !hmac.Equal([]byte(said[3]), []byte(hex.EncodeToString(otc.HmacSha256(text, []byte(secret))))) {
		return errors.New("the signature is another one")
	}
	return nil
}

// NextSecond waits until a request that was sent before has another signature if it
// is sent again: they say the time in seconds.
func NextSecond() {
	for began := time.Now().Unix(); time.Now().Unix() == began; {
		time.Sleep(10 * time.Millisecond)
	}
}
