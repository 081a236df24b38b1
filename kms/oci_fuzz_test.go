package kms

import (
	"net/url"
	"strings"
	"testing"
)

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

// Whatever URI is accepted, no part of it can change the host or the path of a
// request.
func FuzzOCIAlibabaURIs(f *testing.F) {
	f.Add("ocikms://ocid1.key.oc1.iad.afn.abu?version=ocid1.keyversion.oc1.iad.afn.x.abu")
	f.Add("ocikms://ocid1.key.oc1.eu-frankfurt-1.afn.abu")
	f.Add("alikms://key-hzz630494463ejqjx?version=2ab1a983-7072-4bbc-a582-584b5bd8")
	f.Add("alikms://alias/team/release")
	f.Fuzz(func(t *testing.T, uri string) {
		if ref, err := parseOCI(uri); err == nil {
			for _, part := range []string{ref.id, ref.version, ref.vault, ref.region} {
				if url.PathEscape(part) != part {
					t.Errorf("%q has the part %q", uri, part)
				}
			}
			crypto, _, err := ref.endpoints(StoreConfig{})
			if at, parseErr := url.Parse(crypto); err == nil && (parseErr != nil || at.Host != strings.TrimPrefix(crypto, "https://")) {
				t.Errorf("%q is asked at %q", uri, crypto)
			}
		}
		if key, version, err := parseAlibaba(uri); err == nil {
			if url.QueryEscape(version) != version || url.QueryEscape(strings.ReplaceAll(key, "/", "")) != strings.ReplaceAll(key, "/", "") {
				t.Errorf("%q means key %q, version %q", uri, key, version)
			}
		}
	})
}

func FuzzOCIAlibabaRefusals(f *testing.F) {
	f.Add(400, []byte(`{"Code":"SignatureDoesNotMatch","Message":"no. server string to sign is: secret"}`))
	f.Add(404, []byte(`{"code":"NotAuthorizedOrNotFound","message":"no"}`))
	f.Add(503, []byte(`<html>`))
	f.Add(500, []byte(`{"code":"a\nforged line","message":"\r\n"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, e := range []*StoreError{ociRefusal(status, body), alibabaRefusal(status, body)} {
			if e.Kind == nil || strings.ContainsAny(e.Error(), "\r\n") {
				t.Errorf("kind %v: %q", e.Kind, e.Error())
			}
		}
	})
}
