package kms

import (
	"strings"
	"testing"
)

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://kms.example.com": "", "https://kms.example.com:8443/": "", "https://[2001:db8::1]:8200": "",
		"http://127.0.0.1:8200": "", "http://[::1]:8200": "", "http://localhost:8200": "", "http://vault.localhost": "", "HTTPS://kms.example.com": "",
		"https://kms.example.com/path": "has a path",
		"http://kms.example.com":       "plain HTTP", "http://10.0.0.1": "plain HTTP", "http://127.0.0.1.example.com": "plain HTTP", "http://localhost.example.com": "plain HTTP",
		"": "no URL", "kms.example.com": "no URL", "ftp://kms.example.com": "no URL", "https://": "no URL", "https://:443": "no URL", "https://u:secret@kms.example.com": "no URL",
		"https://kms.example.com?secret": "no URL", "https://kms.example.com?": "no URL", "https://kms.example.com#secret": "no URL", "https://kms example.com": "no URL",
	} {
		_, err := hostURL(endpoint)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "allowed: https://")) {
			t.Errorf("%q: error %v, want %q", endpoint, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells it: %v", endpoint, err)
		}
	}
}

func TestRegions(t *testing.T) {
	for region, want := range map[string]bool{
		"eu-west-1": true, "cn-north-4": true, "us-gov-west-1": true, "me-abudhabi-1": true, "ap-guangzhou-open": true, "iad": true, "cn-shanghai-finance-1": true,
		"": false, "evil.example.com": false, "a/b": false, "EU-WEST-1": false, "eu_west": false, "-a": false, "a-": false, "eu-west-1 ": false,
	} {
		if regionRE.MatchString(region) != want {
			t.Errorf("%q: want %t", region, want)
		}
	}
}
