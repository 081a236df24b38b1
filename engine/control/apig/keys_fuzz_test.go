package apig

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
)

// hooked is a request to an API with these headers.
func hooked(authorization, again, date, event string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/in?a=b", http.NoBody)
	for _, header := range [][2]string{{"Authorization", authorization}, {"Authorization", again}, {"X-Sdk-Date", date}, {"X-Event", event}} {
		if header[1] != "" {
			r.Header.Add(header[0], header[1])
		}
	}
	return r
}

// FuzzBasic: one header that says the name and the password, and nothing else, is taken;
// what is refused is told in the vendor's words, and nothing of the password.
func FuzzBasic(f *testing.F) {
	const name, password = "user-1", "Passw0rd-1"
	good := base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
	for _, authorization := range []string{"Basic " + good, "basic " + good, "Basic  " + good, "Basic " + good + "=", "Basic " + strings.TrimRight(good, "="), "Bearer " + good, "Basic", "", "Basic dXNlci0xOg==",
		"Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password+":")), "SDK-HMAC-SHA256 Access=user-1, SignedHeaders=host;x-sdk-date, Signature=00"} {
		f.Add(authorization, "")
	}
	f.Add("Basic "+good, "Basic "+good)
	f.Fuzz(func(t *testing.T, authorization, again string) {
		err := authenticateBasic(hooked(authorization, again, "", ""), door.SDKKey{AccessKey: name, Secret: []byte(password)})
		scheme, rest, _ := strings.Cut(authorization+again, " ")
		said, decodeErr := base64.StdEncoding.DecodeString(rest)
		want := (authorization == "" || again == "") && strings.EqualFold(scheme, "Basic") && decodeErr == nil && string(said) == name+":"+password
		if (err == nil) != want {
			t.Errorf("%q, %q: %v", authorization, again, err)
		}
		if err == nil {
			return
		}
		var refused *Refusal
		if !errors.As(err, &refused) || !slices.Contains([]string{textNone, textFormat, textSignature}, refused.Text) || strings.Contains(err.Error(), password) {
			t.Errorf("%q, %q: %v", authorization, again, err)
		}
		if (refused.Text == textNone) != (authorization+again == "") {
			t.Errorf("%q, %q: %s", authorization, again, refused.Text)
		}
	})
}

// FuzzRefusal: whatever is wrong with a signed request, what is answered is one of the
// vendor's sentences, and what it says of a header is so.
func FuzzRefusal(f *testing.F) {
	now := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	key := door.SDKKey{AccessKey: "signkeysignkey", Secret: []byte("sig-secret-0123456789")}
	signed := hooked("", "", "", "push")
	if err := door.SignSDKHMAC(signed, nil, key, now); err != nil {
		f.Fatal(err)
	}
	good, date := signed.Header.Get("Authorization"), signed.Header.Get("X-Sdk-Date")
	for _, authorization := range []string{good, strings.Replace(good, ";x-sdk-date", "", 1), strings.Replace(good, "x-event", "x-other", 1), strings.Replace(good, "x-event", "", 1), strings.Replace(good, ", ", ",", 2),
		strings.Replace(good, "Signature=", "Signature=00", 1), strings.Replace(good, "signkeysignkey", "another", 1), "Basic dXNlci0xOg==", "", "SDK-HMAC-SHA256 Access=a, SignedHeaders=\x80\xff, Signature=0",
		"SDK-HMAC-SHA256 Credential=signkeysignkey/20261122///sdk_request, SignedHeaders=host;x-sdk-date, Signature=" + strings.Repeat("0", 64)} {
		f.Add(authorization, "", date, "push")
		f.Add(authorization, good, "20261122T000000Z", "")
		f.Add(authorization, "", "", "push")
	}
	fixed := []string{textNone, textFormat, textKey, textDate, textExpired, textSignature}
	f.Fuzz(func(t *testing.T, authorization, again, date, event string) {
		r := hooked(authorization, again, date, event)
		err := door.NewGate(window, remembered, func() time.Time { return now }).SDKHMAC(r, nil, key)
		if err == nil {
			if date != signed.Header.Get("X-Sdk-Date") || !strings.HasSuffix(authorization+again, good[strings.LastIndex(good, "="):]) {
				t.Errorf("%q, %q, %q, %q is taken", authorization, again, date, event)
			}
			return
		}
		text := refusal(r, err)
		if (text == textNone) != (authorization+again == "") || text == textDate && date != "" {
			t.Errorf("%q, %q, %q: %s", authorization, again, date, text)
		}
		if slices.Contains(fixed, text) {
			return
		}
		before, after, _ := strings.Cut(textHeader, "%s")
		name, ok := strings.CutPrefix(text, before)
		name, ends := strings.CutSuffix(name, after)
		if !ok || !ends || len([]rune(name)) > 64 || !strings.Contains(authorization+again, name) || len(r.Header.Values(name)) > 0 && len(name) < 64 {
			t.Errorf("%q, %q: %s", authorization, again, text)
		}
	})
}
