package event

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// A google issues tokens and publishes its keys.
type google struct {
	web
	key  *rsa.PrivateKey
	kid  string
	time time.Time
}

func newGoogle(t testing.TB) *google {
	t.Helper()
	g := &google{time: at("2026-11-22T02:21:00Z")}
	g.rotate(t, "one")
	return g
}

func (g *google) rotate(t testing.TB, kid string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: kid, Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	g.key, g.kid, g.pages = key, kid, map[string]string{googleKeysURL: string(set)}
}

func (g *google) claims() map[string]any {
	return map[string]any{
		"aud": "https://sealwright.example.com/events/gar", "azp": "113774264463038321964", "email": "pubsub@my-project.iam.gserviceaccount.com",
		"email_verified": true, "exp": g.time.Add(time.Hour).Unix(), "iat": g.time.Unix(), "iss": "https://accounts.google.com",
		"sub": "113774264463038321964",
	}
}

func (g *google) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: g.key, KeyID: g.kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (g *google) config() Config {
	return Config{
		Source: GAR, Hosts: []string{"us-east1-docker.pkg.dev"}, Transport: g, Now: func() time.Time { return g.time },
		Audience: "https://sealwright.example.com/events/gar", ServiceAccount: "pubsub@my-project.iam.gserviceaccount.com",
	}
}

func receiveToken(t testing.TB, r *Receiver, token string) error {
	t.Helper()
	_, body := delivery(t, "gar-push")
	got, err := r.Receive(t.Context(), http.Header{"Authorization": {"Bearer " + token}}, body)
	if (err == nil) != (len(got.Pushes) == 1) {
		t.Errorf("%v with %v", got, err)
	}
	if err != nil && token != "" && strings.Contains(err.Error(), token) {
		t.Error("the token is in the error")
	}
	return err
}

func TestGoogleToken(t *testing.T) {
	g := newGoogle(t)
	r := open(t, g.config())
	for range 2 {
		if err := receiveToken(t, r, g.token(t, g.claims())); err != nil {
			t.Fatal(err)
		}
	}
	if len(g.asked) != 1 {
		t.Errorf("asked for the keys %d times", len(g.asked))
	}
	g.rotate(t, "two")
	if err := receiveToken(t, r, g.token(t, g.claims())); err != nil || len(g.asked) != 2 {
		t.Errorf("a new key: %v, asked %d times", err, len(g.asked))
	}
	g.time = g.time.Add(keysFresh + time.Second) // the keys that are known are old
	g.pages[googleKeysURL] = "offline"
	if err := receiveToken(t, r, g.token(t, g.claims())); err == nil || errors.Is(err, ErrUnauthorized) {
		t.Errorf("Google out of reach: %v", err)
	}
}

// TestGoogleTokenRefused: a token is of Google, for us, of our account and of
// now; what is not costs no request.
func TestGoogleTokenRefused(t *testing.T) {
	g := newGoogle(t)
	for name, change := range map[string]func(map[string]any){
		"audience":    func(c map[string]any) { c["aud"] = "https://other.example.com" },
		"no audience": func(c map[string]any) { delete(c, "aud") },
		"issuer":      func(c map[string]any) { c["iss"] = "https://accounts.example.com" },
		"account":     func(c map[string]any) { c["email"] = "other@my-project.iam.gserviceaccount.com" },
		"no account":  func(c map[string]any) { delete(c, "email") },
		"unverified":  func(c map[string]any) { c["email_verified"] = false },
		"expired":     func(c map[string]any) { c["exp"] = g.time.Add(-2 * time.Minute).Unix() },
		"no end":      func(c map[string]any) { delete(c, "exp") },
		"later":       func(c map[string]any) { c["nbf"] = g.time.Add(2 * time.Minute).Unix() },
		"types":       func(c map[string]any) { c["email"] = 1 },
	} {
		claims := g.claims()
		change(claims)
		if err := receiveToken(t, open(t, g.config()), g.token(t, claims)); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := g.token(t, g.claims())
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"empty":  "",
		"text":   "abc",
		"none":   "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"null":   "bnVsbA.bnVsbA.bnVsbA",
		"HMAC":   "eyJhbGciOiJIUzI1NiIsImtpZCI6Im9uZSJ9." + parts[1] + "." + parts[2],
		"long":   strings.Repeat("a", maxToken+1),
		"spaced": good + " x",
	} {
		if err := receiveToken(t, open(t, g.config()), token); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(g.asked) > 0 {
		t.Errorf("asked %v", g.asked)
	}
	// Signed by somebody else, under a known and under an unknown key's name.
	other := newGoogle(t)
	for _, kid := range []string{"one", "unknown", ""} {
		other.kid = kid
		if err := receiveToken(t, open(t, g.config()), other.token(t, g.claims())); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("signed by another key %q: %v", kid, err)
		}
	}
	_, body := delivery(t, "gar-push")
	for _, said := range []string{good, "Basic " + good} {
		if _, err := open(t, g.config()).Receive(t.Context(), http.Header{"Authorization": {said}}, body); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("not as Bearer: %v", err)
		}
	}
}

// TestGoogleKeysAreFetchedRarely: tokens by keys that nobody has heard of cannot make
// us ask Google without end.
func TestGoogleKeysAreFetchedRarely(t *testing.T) {
	g, other := newGoogle(t), newGoogle(t)
	r := open(t, g.config())
	for i := range 3 * maxFetches {
		other.kid = fmt.Sprint(i)
		if err := receiveToken(t, r, other.token(t, g.claims())); err == nil {
			t.Fatal("taken")
		}
	}
	if len(g.asked) != maxFetches {
		t.Errorf("asked %d times, want %d", len(g.asked), maxFetches)
	}
}
