package kms

import (
	"net/url"
	"strings"
	"testing"
)

// What a cloud's URI names goes into paths and host names of requests, so
// nothing that could leave its place may come through.
func FuzzCloudURIs(f *testing.F) {
	for _, uri := range []string{
		"awskms:///alias/release",
		"awskms://kms.example.com:443/arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
		"gcpkms://projects/example.com:p/locations/global/keyRings/r/cryptoKeys/k",
		"azurekms://acme.vault.azure.net/release/0123456789abcdef0123456789abcdef",
		"azurekms://acme.vault.azure.net/release",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		var parts []string
		if ref, err := parseAWS(uri); err == nil {
			parts = append(parts, strings.TrimPrefix(ref.endpoint, "https://"), ref.key, ref.region)
		}
		if parent, version, err := parseGCP(uri); err == nil {
			parts = append(parts, parent, version)
		}
		if host, name, version, err := parseAzure(uri); err == nil {
			parts = append(parts, host, name, version)
		}
		for _, part := range parts {
			if !strings.Contains(uri, part) || strings.ContainsAny(part, "%?#@ \\\n\x00") || strings.Contains(part, "//") && !strings.HasPrefix(part, "alias/") {
				t.Errorf("%q came out of %q", part, uri)
			}
		}
	})
}

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

func FuzzVaultKey(f *testing.F) {
	for _, rest := range []string{
		"//release", "//transit/release?version=3", "//team-a/signing.v2/release", "//release?version=0", "//../x", "//a//b", "//a%2fb", "", "//", "///",
	} {
		f.Add(rest)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		key, err := parseVault(rest)
		if err != nil {
			if !strings.Contains(err.Error(), "allowed: ") {
				t.Errorf("%q: the error does not say what is allowed: %v", rest, err)
			}
			return
		}
		for part := range strings.SplitSeq(key.mount+"/"+key.name, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "%?#\\ \n") {
				t.Errorf("%q has the part %q", rest, part)
			}
		}
		if key.version < 0 || !strings.HasPrefix(rest, "//") {
			t.Errorf("%q was read as %+v", rest, key)
		}
	})
}
