package apig_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

const hookBody = `{"event":"signed"}`

// hook is a request to one of our sinks, or to our events, before it is signed.
func hook(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hooks.example.com/in?a=b", strings.NewReader(hookBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// received is a request as the server gets it.
func received(r *http.Request) *http.Request {
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), nil)
	in.Host, in.Header = r.URL.Host, r.Header.Clone()
	return in
}

// wantSecret fails unless what is sent to an API is signed with that key and secret,
// as Huawei's SDK signs.
func (p *place) wantSecret(t *testing.T, api, key, secret string) {
	t.Helper()
	sign, err := p.keys.Signer(t.Context(), api)
	if err != nil || sign == nil {
		t.Fatalf("signer of %s: %v", api, err)
	}
	r := with(hook(t), "Content-Type", "") // their signer leaves it out
	if err := sign(r, []byte(hookBody)); err != nil {
		t.Fatal(err)
	}
	got := r.Header.Get("Authorization")
	if want := controltest.HuaweiSigned(t, r, []byte(hookBody), key, secret); got != want {
		t.Errorf("%s\nHuawei's SDK signs\n%s", got, want)
	}
}

// TestSigner: a key that Huawei's SDK bound signs what we send, and a backend that has
// the secret verifies it; each change counts at once.
func TestSigner(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	if sign, err := place.keys.Signer(t.Context(), "sink:records"); sign != nil || err != nil {
		t.Fatalf("without key: %v", err)
	}
	made := place.createAt(t, sinks, `{"name":"hooks","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`)
	if s := place.bindAt(t, sinks, made.text("id"), "sink:records"); s.status != 201 {
		t.Fatal(s.raw)
	}
	sign, err := place.keys.Signer(t.Context(), "sink:records")
	ok(t, err)
	r := hook(t)
	ok(t, sign(r, []byte(hookBody)))
	if !strings.Contains(r.Header.Get("Authorization"), "SDK-HMAC-SHA256 Access=signkeysignkey, SignedHeaders=content-type;host;x-sdk-date, Signature=") {
		t.Error(r.Header)
	}
	gate := door.NewGate(15*time.Minute, 10, time.Now)
	ok(t, gate.SDKHMAC(received(r), []byte(hookBody), door.SDKKey{AccessKey: "signkeysignkey", Secret: []byte("sig-secret-0123456789")}))
	if s := place.ask(t, http.MethodPut, sinks+"/signs/"+made.text("id"), controltest.AdminToken, `{"name":"hooks","sign_type":"basic","sign_key":"user-1","sign_secret":"Passw0rd-1"}`); s.status != 200 {
		t.Fatal(s.raw)
	}
	sign, err = place.keys.Signer(t.Context(), "sink:records")
	ok(t, err)
	r = hook(t)
	ok(t, sign(r, []byte(hookBody)))
	if name, password, _ := r.BasicAuth(); name != "user-1" || password != "Passw0rd-1" {
		t.Error(r.Header)
	}
	if s := place.ask(t, http.MethodDelete, sinks+"/signs/"+made.text("id"), controltest.AdminToken, ""); s.status != 204 {
		t.Fatal(s.raw)
	}
	if sign, err := place.keys.Signer(t.Context(), "sink:records"); sign != nil || err != nil {
		t.Errorf("of a deleted key: %v", err)
	}
}

// TestNoAlgorithm: nothing is sent or taken by keys whose use the vendor does not
// describe.
func TestNoAlgorithm(t *testing.T) {
	t.Parallel()
	place := newPlace(t, quick())
	for api, body := range map[string]string{"hooks:records": `{"name":"public","sign_type":"public_key"}`, "hooks:chat": `{"name":"aes","sign_type":"aes","sign_algorithm":"aes-128-cfb"}`} {
		if s := place.bind(t, place.create(t, body).text("id"), api); s.status != 201 {
			t.Fatal(s.raw)
		}
		if sign, err := place.keys.Signer(t.Context(), api); sign != nil || !errors.Is(err, apig.ErrNoAlgorithm) {
			t.Errorf("%s signs: %v", body, err)
		}
		if err := place.keys.Authenticate(t.Context(), api, received(hook(t)), nil); !errors.Is(err, apig.ErrNoAlgorithm) {
			t.Errorf("%s takes: %v", body, err)
		}
	}
}

// A backend checks incoming requests of an API as our events do, at a time that
// stands still.
type backend struct {
	keys *apig.Keys
	now  time.Time
}

func (b backend) authenticate(t *testing.T, api string, r *http.Request, body string) error {
	return b.keys.Authenticate(t.Context(), api, received(r), []byte(body))
}

// check fails unless a request is answered with that text, or is taken if it is "".
func (b backend) check(t *testing.T, what string, r *http.Request, body, text string) {
	t.Helper()
	err := b.authenticate(t, "events:prod", r, body)
	var refusal *apig.Refusal
	switch {
	case text == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case text != "" && (!errors.As(err, &refusal) || refusal.Text != text):
		t.Errorf("%s: %v, want %s", what, err, text)
	case text != "" && strings.Contains(err.Error(), eventsSecret):
		t.Errorf("%s: %v has the secret", what, err)
	}
}

// failed is what the vendor's examples answer, as they spell it.
const failed = "Verify authroization failed." //nolint:misspell // as they spell it

const eventsKey, eventsSecret = "signkeysignkey", "sig-secret-0123456789"

// signedHook is a hook that is signed at a time.
func signedHook(t *testing.T, at time.Time, change func(*http.Request)) *http.Request {
	t.Helper()
	r := hook(t)
	r.Header.Set("X-Event", "push")
	change(r)
	ok(t, door.SignSDKHMAC(r, []byte(hookBody), door.SDKKey{AccessKey: eventsKey, Secret: []byte(eventsSecret)}, at))
	return r
}

// edited returns a request with a changed Authorization header.
func edited(r *http.Request, old, replacement string) *http.Request {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
	return r
}

func with(r *http.Request, name, value string) *http.Request {
	if r.Header.Del(name); value != "" {
		r.Header.Set(name, value)
	}
	return r
}

func newBackend(t *testing.T, body string) (*place, backend) {
	t.Helper()
	place := newPlace(t, quick())
	now := time.Date(2026, 11, 22, 2, 19, 57, 0, time.UTC)
	b := backend{apig.NewKeys(apig.KeysOptions{Journal: place.Journal, Seal: place.seal, Clock: func() time.Time { return now }}), now}
	if err := b.authenticate(t, "events:prod", hook(t), hookBody); !errors.Is(err, apig.ErrNotBound) {
		t.Fatalf("without key: %v", err)
	}
	if s := place.bind(t, place.create(t, body).text("id"), "events:prod"); s.status != 201 {
		t.Fatal(s.raw)
	}
	return place, b
}

// TestAuthenticate: what the key signed is taken once, and anything else is refused in
// the words of the vendor's examples.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	place, b := newBackend(t, `{"name":"hooks","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`)
	good := func() *http.Request { return signedHook(t, b.now, func(*http.Request) {}) }
	check := func(what string, r *http.Request, text string) { t.Helper(); b.check(t, what, r, hookBody, text) }
	check("good", good(), "")
	check("again", good(), "Request received before.")
	check("not signed", with(good(), "Authorization", ""), "Authorization not found.")
	for _, text := range []string{"Basic YTpi", "SDK-HMAC-SHA256", "SDK-HMAC-SHA256 Access=signkeysignkey", "SDK-HMAC-SHA256 Access=,SignedHeaders=,Signature=",
		"SDK-HMAC-SHA256 Credential=signkeysignkey/20261122///sdk_request, SignedHeaders=host;x-sdk-date, Signature=" + strings.Repeat("0", 64)} {
		check(text, with(good(), "Authorization", text), "Authorization format incorrect.")
	}
	twice := good()
	twice.Header.Add("Authorization", "Basic YTpi")
	check("signed twice", twice, "Authorization format incorrect.")
	check("date not signed", edited(good(), ";x-sdk-date", ""), "Authorization format incorrect.")
	check("another key", edited(good(), "Access=signkeysignkey", "Access=signkeysignkey2"), "Signing key not found.")
	check("signed header is missing", with(good(), "X-Event", ""), "Signed header x-event not found.")
	check("date is missing", with(good(), "X-Sdk-Date", ""), "Header x-sdk-date not found.")
	check("another header", with(good(), "X-Event", "pull"), failed)
	check("another hash", with(good(), "X-Sdk-Content-Sha256", strings.Repeat("0", 64)), failed)
	check("unsigned payload, added", with(good(), "X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD"), failed)
	path := good()
	path.URL.Path = "/other"
	check("another path", path, failed)
	b.check(t, "another body", good(), hookBody+" ", failed)
	for off, text := range map[time.Duration]string{-15 * time.Minute: "", 15 * time.Minute: "", -15*time.Minute - time.Second: "Signature expired.", 15*time.Minute + time.Second: "Signature expired."} {
		check(off.String(), signedHook(t, b.now.Add(off), func(*http.Request) {}), text)
	}
	b.check(t, "unsigned payload", signedHook(t, b.now, func(r *http.Request) { r.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD") }), "any", "")
	if err := b.authenticate(t, "hooks:records", good(), hookBody); !errors.Is(err, apig.ErrNotBound) {
		t.Errorf("at another API: %v", err)
	}

	next := signedHook(t, b.now.Add(time.Second), func(*http.Request) {})
	if s := place.ask(t, http.MethodPut, base+"/signs/"+place.stored(t)[0].ID, controltest.AdminToken, `{"name":"hooks","sign_key":"signkeysignkey","sign_secret":"sig-secret-9876543210"}`); s.status != 200 {
		t.Fatal(s.raw)
	}
	check("by the old secret", next, failed)
}

// TestAuthenticateHuawei: what Huawei's own signer signs is taken.
func TestAuthenticateHuawei(t *testing.T) {
	t.Parallel()
	_, b := newBackend(t, `{"name":"hooks","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`)
	r := hook(t)
	r.Header.Set("X-Sdk-Date", b.now.Format("20060102T150405Z"))
	r.Header.Set("Authorization", controltest.HuaweiSigned(t, r, []byte(hookBody), eventsKey, eventsSecret))
	b.check(t, "signed", r, hookBody, "")
	r.Header.Set("Authorization", controltest.HuaweiSigned(t, r, []byte(hookBody), eventsKey, "another secret"))
	b.check(t, "signed by another secret", r, hookBody, failed)
}

// TestAuthenticateBasic: name and password together, and nothing near them.
func TestAuthenticateBasic(t *testing.T) {
	t.Parallel()
	_, b := newBackend(t, `{"name":"hooks","sign_type":"basic","sign_key":"user-1","sign_secret":"Passw0rd-1"}`)
	for _, c := range [][3]string{{"user-1", "Passw0rd-1", ""}, {"user-1", "Passw0rd-1", ""}, {"user-1", "Passw0rd-2", failed}, {"user-2", "Passw0rd-1", failed}, {"user-1", "", failed},
		{"", "Passw0rd-1", failed}, {"", "", failed}, {"user-1", "Passw0rd-1 ", failed}, {"User-1", "Passw0rd-1", failed}, {"user-1:Passw0rd-1", "", failed}} {
		r := hook(t)
		r.SetBasicAuth(c[0], c[1])
		b.check(t, c[0]+" "+c[1], r, hookBody, c[2])
	}
	r := hook(t)
	b.check(t, "nothing", r, hookBody, "Authorization not found.")
	b.check(t, "no Basic", with(r, "Authorization", "Bearer x"), hookBody, "Authorization format incorrect.")
	b.check(t, "not base64", with(r, "Authorization", "Basic !"), hookBody, "Authorization format incorrect.")
	b.check(t, "signed", signedHook(t, b.now, func(*http.Request) {}), hookBody, "Authorization format incorrect.")
	r.SetBasicAuth("user-1", "Passw0rd-1")
	r.Header.Add("Authorization", r.Header.Get("Authorization"))
	b.check(t, "twice", r, hookBody, "Authorization format incorrect.")
}

// TestMemoryOutlivesKeys: what was taken is not taken again because its key was
// unbound and bound again meanwhile.
func TestMemoryOutlivesKeys(t *testing.T) {
	t.Parallel()
	place, b := newBackend(t, `{"name":"hooks","sign_key":"signkeysignkey","sign_secret":"sig-secret-0123456789"}`)
	r := signedHook(t, b.now, func(*http.Request) {})
	b.check(t, "first", r, hookBody, "")
	list, err := place.Journal.SignatureBindings(t.Context(), controltest.Registry)
	ok(t, err)
	if s := place.ask(t, http.MethodDelete, base+"/sign-bindings/"+list[0].ID, controltest.AdminToken, ""); s.status != 204 {
		t.Fatal(s.raw)
	}
	if err := b.authenticate(t, "events:prod", r, hookBody); !errors.Is(err, apig.ErrNotBound) {
		t.Error(err)
	}
	place.bind(t, list[0].KeyID, "events:prod")
	b.check(t, "again", r, hookBody, "Request received before.")
}
