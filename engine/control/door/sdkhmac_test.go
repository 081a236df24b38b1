package door

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	huaweikms "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/kms/v2/model"
)

// TestSDKHMACClient: what Huawei's client sends over loopback.
func TestSDKHMACClient(t *testing.T) {
	server := newCapture(t, "{}")
	credentials, err := basic.NewCredentialsBuilder().WithAk(accessKey).WithSk(secretKey).WithProjectId("p").SafeBuild()
	if err != nil {
		t.Fatal(err)
	}
	client, err := huaweikms.KmsClientBuilder().WithEndpoints([]string{server.URL}).WithCredential(credentials).
		WithHttpConfig(config.DefaultHttpConfig().WithUserAgent("sealwright")).SafeBuild()
	if err != nil {
		t.Fatal(err)
	}
	sdk := huaweikms.NewKmsClient(client)
	for name, call := range map[string]func() error{
		"GET": func() error { _, err := sdk.ListKmsTags(&model.ListKmsTagsRequest{}); return err },
		"POST": func() error {
			_, err := sdk.CreateKey(&model.CreateKeyRequest{Body: &model.CreateKeyRequestBody{KeyAlias: "a & ü"}})
			return err
		},
		"DELETE": func() error {
			_, err := sdk.DeleteTag(&model.DeleteTagRequest{KeyId: "a b", Key: "ü(1)"})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		req := server.last(t)
		if req.method != name {
			t.Fatalf("%s: sent %s", name, req.method)
		}
		at, err := time.Parse(sdkDateForm, req.header.Get("X-Sdk-Date"))
		if err != nil {
			t.Fatal(err)
		}
		s := scheme{name: "Huawei", enter: (*Door).SDKHMAC, at: at}
		d := s.open(t)
		s.expect(t, d, name, req, nil)
		s.expect(t, d, name+" again", req, cmpErr(name == "GET", nil, ErrReplayed))
		s.expect(t, s.open(t), name+", another body", req.with(func(s *sent) { s.body += "x" }), ErrSignature)
	}
}

// TestSDKHMACPaths: paths and queries that Huawei's signer escapes in its way.
func TestSDKHMACPaths(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	for _, path := range []string{"/", "/a", "/a/", "/a//b", "/a%20b", "/%C3%BC/~._-", "/a+b:c@d,e;f=g&h", "/100%25", "/a%252Fb", "/sha256:11*"} {
		for _, query := range []string{"", "?a=1", "?b=2&a=1", "?a=2&a=1&a=1", "?flag", "?flag=", "?x=%2F%20%C3%BC%2B*~", "?x=a+b", "?Z=1&a=2", "?a%5B0%5D=1"} {
			s := scheme{name: "Huawei", enter: (*Door).SDKHMAC, at: at}
			req := huaweiSign(t, sent{http.MethodPut, path + query, "localhost:1", "{}", http.Header{"User-Agent": {"x"}}}, at)
			s.expect(t, s.open(t), path+query, req, nil)
			s = scheme{name: "scoped", enter: (*Door).SDKHMAC, at: at}
			req = scopedSign(sent{http.MethodPut, path + query, "localhost:1", "{}", http.Header{"User-Agent": {"x"}}}, at)
			s.expect(t, s.open(t), path+query, req, cmpErr(strings.Contains(query, "a=1&a=1"), ErrMalformed, nil))
		}
	}
}

// TestSDKHMACEscapedSlash: an escaped slash is none, so that one resource's signature
// is not good for another.
func TestSDKHMACEscapedSlash(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	for _, sign := range []func(sent) sent{
		func(s sent) sent { return huaweiSign(t, s, at) },
		func(s sent) sent { return scopedSign(s, at) },
	} {
		s := scheme{name: "SDK", enter: (*Door).SDKHMAC, at: at}
		req := sign(sent{http.MethodDelete, "/signs/a/b", "localhost", "", http.Header{"User-Agent": {"x"}}})
		s.expect(t, s.open(t), "two segments", req, nil)
		s.expect(t, s.open(t), "one segment", req.with(func(s *sent) { s.uri = "/signs/a%2Fb" }), ErrSignature)
		s.expect(t, s.open(t), "one segment, lower case", req.with(func(s *sent) { s.uri = "/signs/a%2fb" }), ErrSignature)
	}
	path, err := sdkPath("/a%2fb/%7E")
	if err != nil || path != "/a%2Fb/~/" {
		t.Errorf("path %q, %v", path, err)
	}
}

// TestSDKHMACContentHash: the hash that a request names is its body's.
func TestSDKHMACContentHash(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	base := sent{http.MethodPost, "/v2/p/signs", "localhost", `{"name":"a"}`, http.Header{"User-Agent": {"x"}}}
	s := scheme{name: "Huawei", enter: (*Door).SDKHMAC, at: at}
	hash := hexSHA256([]byte(base.body))

	named := huaweiSign(t, base.set("X-Sdk-Content-Sha256", hash), at)
	s.expect(t, s.open(t), "its hash", named, nil)
	s.expect(t, s.open(t), "its hash, another body", named.with(func(s *sent) { s.body = `{"name":"b"}` }), ErrBodyHash)
	s.expect(t, s.open(t), "its hash twice", named.add("X-Sdk-Content-Sha256", hash), ErrMalformed)
	wrong := huaweiSign(t, base.set("X-Sdk-Content-Sha256", hexSHA256(nil)), at)
	s.expect(t, s.open(t), "another hash, signed", wrong, ErrBodyHash)

	form := huaweiSign(t, base.set("Content-Type", "multipart/form-data"), at) // the SDK does not sign such bodies
	s.expect(t, s.open(t), "unsigned", form, nil)
	s.expect(t, s.open(t), "unsigned, another body", form.with(func(s *sent) { s.body = "x" }), nil)
	s.expect(t, s.open(t), "unsigned, said to be signed", form.without("X-Sdk-Content-Sha256"), ErrMalformed)
	s.expect(t, s.open(t), "signed, said to be unsigned", huaweiSign(t, base, at).set("X-Sdk-Content-Sha256", unsignedPayload), ErrSignature)
}

// TestScopedQueryAsBody: a POST without a body, whose query is hashed in its place.
func TestScopedQueryAsBody(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	s := scheme{name: "scoped", enter: (*Door).SDKHMAC, at: at}
	req := scopedSign(sent{http.MethodPost, "/v2/p/signs?b=x+y&a=%2F", "localhost", "", http.Header{"User-Agent": {"x"}}}, at)
	s.expect(t, s.open(t), "a query", req, nil)
	s.expect(t, s.open(t), "another query", req.with(func(s *sent) { s.uri += "&c=1" }), ErrSignature)
	s.expect(t, s.open(t), "no query", req.with(func(s *sent) { s.uri = "/v2/p/signs" }), ErrSignature)
	s.expect(t, s.open(t), "no query either way", scopedSign(req.without("Authorization").with(func(s *sent) { s.uri = "/v2/p/signs" }), at), nil)
}

func TestSDKHMACTampered(t *testing.T) {
	at := time.Date(2026, 11, 22, 2, 19, 56, 0, time.UTC)
	for _, s := range []scheme{huawei(t, at), scoped(at)} {
		good := s.good
		_, list, _ := strings.Cut(good.header.Get("Authorization"), ", ")
		list, _, _ = strings.Cut(list, ",")
		u, err := url.Parse(good.uri)
		if err != nil {
			t.Fatal(err)
		}
		s.tryAll(t, []try{
			{"another body", good.with(func(s *sent) { s.body = strings.Replace(s.body, "a", "b", 1) }), ErrSignature},
			{"no body", good.with(func(s *sent) { s.body = "" }), ErrSignature},
			{"another path", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "/p/", "/q/", 1) }), ErrSignature},
			{"a segment more", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "?", "/1?", 1) }), ErrSignature},
			{"a slash more at the end", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "?", "/?", 1) }), nil},
			{"two slashes more at the end", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "?", "//?", 1) }), ErrSignature},
			{"an escaped letter", good.with(func(s *sent) { s.uri = strings.Replace(s.uri, "/p/", "/%70/", 1) }), nil},
			{"another query", good.with(func(s *sent) { s.uri += "0" }), ErrSignature},
			{"a name more", good.with(func(s *sent) { s.uri += "&x=1" }), ErrSignature},
			{"a name twice", good.with(func(s *sent) { s.uri += "&" + u.RawQuery }), cmpErr(s.name == "scoped", ErrMalformed, ErrSignature)},
			{"no query", good.with(func(s *sent) { s.uri = u.EscapedPath() }), ErrSignature},
			{"a query that is none", good.with(func(s *sent) { s.uri += "&x=1;y=2" }), ErrMalformed},
			{"GET", good.with(func(s *sent) { s.method = http.MethodGet }), ErrSignature},
			{"DELETE", good.with(func(s *sent) { s.method = http.MethodDelete }), ErrSignature},
			{"another host", good.with(func(s *sent) { s.host = "other" }), cmpErr(s.name == "scoped", ErrSignature, nil)},
			{"no port", good.with(func(s *sent) { s.host, _, _ = strings.Cut(s.host, ":") }), cmpErr(s.name == "scoped", ErrSignature, nil)},
			{"another agent", good.set("User-Agent", "curl"), ErrSignature},
			{"an agent twice", good.add("User-Agent", "curl"), ErrMalformed},
			{"no agent", good.without("User-Agent"), ErrMalformed},
			{"an unsigned project", good.set("X-Domain-Id", "x"), nil},
			{"another second", good.set("X-Sdk-Date", at.Add(time.Second).Format(sdkDateForm)), ErrSignature},
			{"no time", good.without("X-Sdk-Date"), ErrMalformed},
			{"time twice", good.add("X-Sdk-Date", at.Format(sdkDateForm)), ErrMalformed},
			{"a fraction of a second", good.set("X-Sdk-Date", "20261122T021956.5Z"), ErrMalformed},
			{"another form of time", good.set("X-Sdk-Date", at.Format(time.RFC3339)), ErrMalformed},
			{"time unsigned", good.edit(";x-sdk-date", ""), ErrMalformed},
			{"odd case", good.edit("user-agent", "User-Agent"), ErrMalformed},
			{"listed twice", good.edit(list, list+";x-sdk-date"), ErrMalformed},
			{"an empty name", good.edit("SignedHeaders=", "SignedHeaders=;"), ErrMalformed},
			{"one that is missing", good.edit(list, list+";zz"), ErrMalformed},
			{"one more than was signed", good.set("Zz", "1").edit(list, list+";zz"), ErrSignature},
			{"itself", good.edit("SignedHeaders=", "SignedHeaders=authorization;"), ErrMalformed},
			{"too many", many(good, list), ErrMalformed},
			{"two hashes that are not signed", good.add("X-Sdk-Content-Sha256", unsignedPayload).add("X-Sdk-Content-Sha256", "x"), ErrMalformed},
			{"an empty key", good.edit(accessKey, ""), ErrMalformed},
			{"another key", good.edit(accessKey, "AKOTHER"), ErrUnknown},
			{"another algorithm", good.edit("SDK-HMAC-SHA256", "SDK-HMAC-SM3"), ErrUnsupported},
			{"no list", good.edit(list+", ", ""), ErrMalformed},
		})
	}
	s := huawei(t, at)
	s.expect(t, s.open(t), "plain, said to be scoped", s.good.edit("Access="+accessKey, "Credential="+accessKey+"/20261122///sdk_request"), ErrMalformed)
	s = scoped(at)
	for what, edit := range map[string][2]string{
		"said to be plain":  {"Credential=" + accessKey + "/20261122///sdk_request", "Access=" + accessKey},
		"another region":    {"///", "/x//"},
		"another service":   {"///", "//x/"},
		"another date":      {"/20261122/", "/20261123/"},
		"another end":       {"sdk_request", "tc3_request"},
		"a part less":       {"///", "//"},
		"no key":            {accessKey, ""},
		"host unsigned":     {"host;", ""},
		"agent not blanked": {"user-agent;", ""},
	} {
		want := ErrMalformed
		if strings.HasPrefix(what, "said") || what == "another region" || what == "another service" || what == "agent not blanked" {
			want = ErrSignature
		}
		s.expect(t, s.open(t), what, s.good.edit(edit[0], edit[1]), want)
	}
	unsorted := scopedSignNames(s.good.without("Authorization"), at, []string{"x-sdk-date", "host"})
	s.expect(t, s.open(t), "signed in another order", unsorted, ErrMalformed)
	s.expect(t, s.open(t), "a part after the end", s.good.edit("sdk_request", "sdk_request/x"), ErrMalformed)
	unhosted := scopedSignNames(s.good.without("Authorization"), at, []string{"x-sdk-date"})
	s.expect(t, s.open(t), "signed without host", unhosted, ErrMalformed)
}
