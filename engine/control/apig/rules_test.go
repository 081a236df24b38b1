package apig_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/rights"
)

// quick lets tests ask as often as they like.
func quick() controltest.Options {
	return controltest.Options{Rights: rights.Options{PerSecond: 1e6, Burst: 1e6}}
}

// TestTypes: the types and algorithms that go together, and those that do not.
func TestTypes(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	for body, field := range map[string]string{
		`{"name":"demo","sign_type":"rot13"}`:                                "sign_type",
		`{"name":"demo","sign_type":"HMAC"}`:                                 "sign_type",
		`{"name":"demo","sign_type":1}`:                                      "sign_type",
		`{"name":"demo","sign_type":["hmac"]}`:                               "sign_type",
		`{"name":1}`:                                                         "name",
		`{"name":{}}`:                                                        "name",
		`{"name":"demo","sign_key":true}`:                                    "sign_key",
		`{"name":"demo","sign_secret":12345678901234567}`:                    "sign_secret",
		`{"name":"demo","sign_type":"aes"}`:                                  "sign_algorithm",
		`{"name":"demo","sign_type":"aes","sign_algorithm":"aes-192-cfb"}`:   "sign_algorithm",
		`{"name":"demo","sign_algorithm":"aes-128-cfb"}`:                     "sign_algorithm",
		`{"name":"demo","sign_type":"basic","sign_algorithm":"aes-256-cfb"}`: "sign_algorithm",
		`{"name":"demo","sign_type":"aes","sign_algorithm":"aes-256-cfb","sign_key":"0123456789abcdef"}`: "sign_key",
		`{"name":"demo","sign_secret":"************"}`:                                                   "sign_secret",
		`{"name":"demo","sign_key":"************"}`:                                                      "sign_key",
	} {
		want(t, body, place.ask(t, http.MethodPost, base+"/signs", controltest.AdminToken, body), 400, "APIG.2011", "Invalid parameter value,parameterName:"+field+docs)
	}
	for _, body := range []string{`{}`, `{"name":null}`, `{"name":""}`, `{"Name":"demo"}`} {
		want(t, body, place.ask(t, http.MethodPost, base+"/signs", controltest.AdminToken, body), 400, "APIG.2001",
			"The request parameters must be specified,parameterName:name"+docs)
	}
	if n := len(place.stored(t)); n != 0 {
		t.Errorf("%d keys", n)
	}
}

// TestGenerated: what is missing, null or empty is generated, in the form of its type,
// and never twice the same.
func TestGenerated(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	hex := `^[0-9a-f]{32}$`
	seen := map[string]bool{}
	i := 0
	for rest, forms := range map[string][2]string{
		``:                    {hex, hex},
		`,"sign_type":"hmac"`: {hex, hex},
		`,"sign_type":null`:   {hex, hex},
		`,"sign_type":""`:     {hex, hex},
		`,"sign_key":"","sign_secret":null,"sign_algorithm":""`: {hex, hex},
		`,"sign_type":"basic"`:                              {`^[A-Za-z][0-9a-f]{31}$`, hex},
		`,"sign_type":"public_key"`:                         {hex, hex},
		`,"sign_type":"aes","sign_algorithm":"aes-128-cfb"`: {`^[A-Za-z0-9]{16}$`, `^[A-Za-z0-9]{16}$`},
		`,"sign_type":"aes","sign_algorithm":"aes-256-cfb"`: {`^[A-Za-z0-9]{32}$`, `^[A-Za-z0-9]{16}$`},
		`,"anything":{"else":[1,2,{"a":"b"}]}`:              {hex, hex},
	} {
		i++
		s := place.create(t, fmt.Sprintf(`{"name":"generated_%d"%s}`, i, rest))
		for j, field := range []string{"sign_key", "sign_secret"} {
			value := s.text(field)
			if !regexp.MustCompile(forms[j]).MatchString(value) || seen[value] {
				t.Errorf("%s: %s is %q", rest, field, value)
			}
			seen[value] = true
		}
	}
}

// TestUpdate: an update replaces everything: what it has not is generated, as the
// vendor's own example shows. The mask that lists show leaves a value as it is.
func TestUpdate(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	put := func(id, body string) said {
		return place.ask(t, http.MethodPut, base+"/signs/"+id, controltest.AdminToken, body)
	}
	first := place.create(t, `{"name":"first","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`)
	place.create(t, `{"name":"second"}`)
	id := first.text("id")
	place.bind(t, id, "hooks:records")
	want(t, "a name that is taken", put(id, `{"name":"second"}`), 400, "APIG.3207", "The signature key name already exists")
	want(t, "bad secret", put(id, `{"name":"first","sign_secret":"short"}`), 400, "APIG.2011", "Invalid parameter value,parameterName:sign_secret"+docs)
	want(t, "no name", put(id, `{}`), 400, "APIG.2001", "The request parameters must be specified,parameterName:name"+docs)
	want(t, "no such key", put(absent, `{"name":"first"}`), 404, "APIG.3017", "Signature key "+absent+" does not exist")
	want(t, "key of another instance", place.ask(t, http.MethodPut, other+"/signs/"+id, controltest.AdminToken, `{"name":"first"}`), 404, "APIG.3017", "Signature key "+id+" does not exist")

	s := put(id, `{"name":"renamed","sign_key":"signkeysignkey","sign_secret":"************"}`)
	if s.status != 200 || s.text("name") != "renamed" || s.text("sign_secret") != "************" || s.text("create_time") != first.text("create_time") {
		t.Errorf("%d %s", s.status, s.raw)
	}
	place.wantSecret(t, "hooks:records", "signkeysignkey", "sig-secret-0123456789")
	s = put(id, `{"name":"renamed"}`)
	if s.status != 200 || s.text("sign_key") == "signkeysignkey" || len(s.text("sign_secret")) != 32 {
		t.Errorf("%d %s", s.status, s.raw)
	}
	place.wantSecret(t, "hooks:records", s.text("sign_key"), s.text("sign_secret"))
	s = put(id, `{"name":"renamed","sign_key":"************","sign_secret":"sig-secret-9876543210"}`)
	if s.status != 200 || s.text("sign_secret") != "sig-secret-9876543210" {
		t.Errorf("%d %s", s.status, s.raw)
	}
	place.wantSecret(t, "hooks:records", s.text("sign_key"), "sig-secret-9876543210")
}

// TestUpdateAES: the key of AES is a secret, which another type neither keeps nor
// shows.
func TestUpdateAES(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	s := place.create(t, `{"name":"aes","sign_type":"aes","sign_algorithm":"aes-128-cfb","sign_key":"0123456789abcdef","sign_secret":"abcdef0123456789"}`)
	put := func(body string) said {
		return place.ask(t, http.MethodPut, base+"/signs/"+s.text("id"), controltest.AdminToken, body)
	}
	kept := put(`{"name":"aes","sign_type":"aes","sign_algorithm":"aes-128-cfb","sign_key":"************","sign_secret":"************"}`)
	if kept.status != 200 || kept.text("sign_key") != "************" || kept.text("sign_secret") != "************" {
		t.Errorf("%d %s", kept.status, kept.raw)
	}
	want(t, "kept by an algorithm that it does not fit", put(`{"name":"aes","sign_type":"aes","sign_algorithm":"aes-256-cfb","sign_key":"************"}`),
		400, "APIG.2011", "Invalid parameter value,parameterName:sign_key"+docs)
	want(t, "kept by another type", put(`{"name":"aes","sign_key":"************"}`), 400, "APIG.2011", "Invalid parameter value,parameterName:sign_key"+docs)
	want(t, "secret kept by another type", put(`{"name":"aes","sign_secret":"************"}`), 400, "APIG.2011", "Invalid parameter value,parameterName:sign_secret"+docs)
	if k := place.stored(t)[0]; k.Key != "" || strings.Contains(fmt.Sprint(k), "0123456789abcdef") {
		t.Errorf("stored: %+v", k)
	}
	if s := put(`{"name":"aes","sign_type":"basic"}`); s.status != 200 || s.text("sign_type") != "basic" || s.body["sign_algorithm"] != nil {
		t.Errorf("%d %s", s.status, s.raw)
	}
}
