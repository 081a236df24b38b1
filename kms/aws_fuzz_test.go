package kms

import (
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
