package apig

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestBounds: the bounds, first characters and characters of each type, as documented
// for CreateSignatureKeyV2. What is wrong is named, and not repeated.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field, rest  string
		min, max     int
		first, chars string
	}{
		{"name", "", 3, 64, "aZ", "aZ09_"},
		{"sign_key", "", 8, 32, "aZ09", "aZ09_-"},
		{"sign_secret", "", 16, 64, "aZ09", "aZ09_-!@#$%"},
		{"sign_key", `"sign_type":"hmac",`, 8, 32, "aZ09", "aZ09_-"},
		{"sign_key", `"sign_type":"basic",`, 4, 32, "aZ", "aZ09_-"},
		{"sign_secret", `"sign_type":"basic",`, 8, 64, "aZ09", "aZ09_-!@#$%"},
		{"sign_key", `"sign_type":"public_key",`, 8, 512, "aZ09+/", "aZ09_-+/="},
		{"sign_secret", `"sign_type":"public_key",`, 16, 2048, "aZ09+/", "aZ09_-!@#$%+/="},
		{"sign_key", `"sign_type":"aes","sign_algorithm":"aes-128-cfb",`, 16, 16, "aZ09+/", "aZ09_-!@#$%+/="},
		{"sign_key", `"sign_type":"aes","sign_algorithm":"aes-256-cfb",`, 32, 32, "aZ09+/", "aZ09_-!@#$%+/="},
		{"sign_secret", `"sign_type":"aes","sign_algorithm":"aes-128-cfb",`, 16, 16, "aZ09+/", "aZ09_-!@#$%+/="},
		{"sign_secret", `"sign_type":"aes","sign_algorithm":"aes-256-cfb",`, 16, 16, "aZ09+/", "aZ09_-!@#$%+/="},
	} {
		try := func(value string, good bool) {
			t.Helper()
			encoded, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			name := `"name":"demo",`
			if c.field == "name" {
				name = ""
			}
			wantBounds(t, fmt.Sprintf(`{%s%s%q:%s}`, name, c.rest, c.field, encoded), c.field, value, good)
		}
		fill := strings.Repeat("a", c.max)
		try(fill[:c.min], true)
		try(fill, true)
		try(fill[:c.min-1], false)
		try(fill+"b", false)
		for _, r := range "aZ09_-!@#$%+/=*. ~'\"\\<&\u00e9\x00\n\u9375" {
			try(string(r)+fill[:c.min-1], strings.ContainsRune(c.first, r))
			try(fill[:c.min-1]+string(r), strings.ContainsRune(c.chars, r))
		}
	}
}

func wantBounds(t *testing.T, body, field, value string, good bool) {
	t.Helper()
	w, err := parseWish([]byte(body))
	if err == nil {
		err = w.fill()
	}
	var p *problem
	switch {
	case good && (err != nil || value != map[string]string{fieldName: w.name, fieldKey: w.key, fieldSecret: w.secret}[field]):
		t.Errorf("%s: %+v, %v", body, w, err)
	case !good && (!errors.As(err, &p) || p.Code != "APIG.2011" || !strings.Contains(p.Message, ":"+field+".") || !strings.HasPrefix(p.Detail, "allowed: ")):
		t.Errorf("%s: %v", body, err)
	case !good && strings.Contains(err.Error(), value):
		t.Errorf("%s is repeated: %v", body, err)
	}
}
