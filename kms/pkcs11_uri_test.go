package kms

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

func TestParsePKCS11(t *testing.T) {
	for uri, want := range map[string]pkcs11api.Selector{
		"pkcs11:object=signing":                           {Object: "signing"},
		"pkcs11:id=%01":                                   {ID: "01"},
		"pkcs11:id=%01%ff%FF":                             {ID: "01ffff"},
		"pkcs11:id=AZ%00":                                 {ID: "415a00"},
		"pkcs11:token=release;object=signing;id=%01":      {Token: "release", Object: "signing", ID: "01"},
		"pkcs11:type=private;object=a%3Bb%2Fc%3F%25":      {Object: "a;b/c?%"},
		"pkcs11:object=gr%C3%B6%C3%9Fe:[]@!$'()*+,=&-._~": {Object: "größe:[]@!$'()*+,=&-._~"},
		"pkcs11:manufacturer=m;model=o;serial=1;object=k": {Manufacturer: "m", Model: "o", Serial: "1", Object: "k"},
	} {
		got, err := parsePKCS11(uri)
		if err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", uri, diff)
		}
	}
}

func TestParsePKCS11Refuses(t *testing.T) {
	const secret = "5up3r"
	for uri, want := range map[string]string{
		"pkcs11:":                  "a part without \"=\"",
		"pkcs11:object":            "a part without \"=\"",
		"pkcs11:object=a;":         "a part without \"=\"",
		"pkcs11:;object=a":         "a part without \"=\"",
		"pkcs11:token=release":     "names no key; allowed: object=LABEL, id=%01 or both",
		"pkcs11:object=":           "attribute object of the key URI: 0 bytes; allowed: 1 to 255",
		"pkcs11:object=a;object=b": "object twice",
		"pkcs11:object=" + strings.Repeat("a", 256):        "256 bytes; allowed: 1 to 255",
		"pkcs11:object=a;token=" + strings.Repeat("a", 33): "33 bytes; allowed: 1 to 32",
		"pkcs11:object=a;serial=12345678901234567":         "17 bytes; allowed: 1 to 16",
		"pkcs11:object=a;type=public":                      "attribute type of the key URI: allowed: private",
		"pkcs11:object=a;slot-id=0":                        "attribute slot-id of the key URI: not supported; allowed: object, id",
		"pkcs11:object=a;Token=b":                          "attribute Token of the key URI: not supported",
		"pkcs11:object=a/b":                                "octet 0x2f must be percent-encoded as %2F",
		"pkcs11:object=a b":                                "octet 0x20 must be percent-encoded as %20",
		"pkcs11:object=größe":                              "octet 0xc3 must be percent-encoded as %C3",
		"pkcs11:object=a#b":                                "octet 0x23 must be percent-encoded as %23",
		"pkcs11:id=%0":                                     "ends within a percent-encoded octet",
		"pkcs11:id=%":                                      "ends within a percent-encoded octet",
		"pkcs11:id=%zz":                                    "not followed by two hex digits",
		"pkcs11:object=%ff":                                "not text; allowed: UTF-8",
		"pkcs11:object=a%0Ab":                              "without control characters",
		"pkcs11:object=a?":                                 "has a query; allowed: none",
		"pkcs11:object=a?version=1":                        "has a query; allowed: none",
		"pkcs11:object=a?pin-value=" + secret:              "has pin-value: the PIN does not belong here, where others read it; give it to the helper: sealwright-pkcs11 --pin-file FILE",
		"pkcs11:object=a;pin-value=" + secret:              "has pin-value: the PIN does not belong here",
		"pkcs11:object=a?pin-source=file:/" + secret:       "sealwright-pkcs11 --pin-file FILE",
		"pkcs11:object=a?module-path=/lib/" + secret:       "sealwright-pkcs11 --module FILE",
		"pkcs11:object=a?x=1&module-name=" + secret:        "sealwright-pkcs11 --module FILE",
		"pkcs11:object=a;" + secret + "=1":                 "not supported",
	} {
		_, err := parsePKCS11(uri)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", uri, err, want)
		} else if strings.Contains(err.Error(), "="+secret) || strings.Contains(err.Error(), "/"+secret) {
			t.Errorf("%s: the error repeats a value: %v", uri, err)
		}
	}
}

func FuzzParsePKCS11(f *testing.F) {
	for _, uri := range []string{"pkcs11:token=release;object=signing;id=%01", "pkcs11:id=%FF", "pkcs11:object=a?pin-value=1",
		"pkcs11:object=%C3%B6;type=private", "pkcs11:", "pkcs11:=;=", "pkcs11:object=%", "pkcs11:object=a;serial=1;model=m;manufacturer=x"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		s, err := parsePKCS11(uri)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%q was read as what the helper refuses: %v", uri, err)
		}
		again, err := pkcs11api.ParseQuery(s.Query())
		if err != nil || again != s {
			t.Errorf("%q: %+v came out of its query as %+v, %v", uri, s, again, err)
		}
	})
}
