package door

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"testing"
	"time"
)

// TestOwn: our own API takes a token or a signature of either form, one of them, with
// all that the door looks at where only that way is open.
func TestOwn(t *testing.T) {
	for _, s := range schemes(t) {
		switch s.name {
		case "Huawei", "scoped":
			s.enter = (*Door).Own
			signed := s.good.header.Get("Authorization")
			s.tryAll(t, []try{
				{"signed", s.good, nil},
				{"beside X-Auth-Token", s.good.set("X-Auth-Token", bearer), ErrMalformed},
				{"beside Bearer", s.good.add("Authorization", "Bearer "+bearer), ErrMalformed},
				{"twice", s.good.add("Authorization", signed), ErrMalformed},
				{"another body", s.good.with(func(s *sent) { s.body = `{"name":"b"}` }), ErrSignature},
				{"another path", s.good.with(func(s *sent) { s.uri = "/elsewhere" }), ErrSignature},
				{"another key", s.good.edit(accessKey, "AKEXAMPLE0000000009"), ErrUnknown},
				{"lower-case scheme", s.good.edit("SDK-HMAC", "sdk-hmac"), ErrUnsupported},
			})
			d := s.open(t)
			s.expect(t, d, "once", s.good, nil)
			s.expect(t, d, "again", s.good, ErrReplayed)
			late := openAt(t, s.at.Add(s.window+time.Second))
			s.expect(t, late, "late", s.good, ErrClock)
		case "Token":
			s.enter = (*Door).Own
			s.expect(t, s.open(t), "a token", s.good, nil)
		case "TC3", "OCI": // whose clients have no business here
			s.enter = (*Door).Own
			s.expect(t, s.open(t), "another scheme", s.good, ErrUnsupported)
		}
	}
}

// TestOwnUnsignedBody: what Huawei's gateway lets a client leave unsigned is signed here.
func TestOwnUnsignedBody(t *testing.T) {
	at := time.Now().Truncate(time.Second).UTC()
	open := huaweiSign(t, sent{http.MethodPost, "/api/v1/policies", "localhost", `{"name":"a"}`, http.Header{"X-Sdk-Content-Sha256": {unsignedPayload}}}, at)
	s := scheme{name: "Huawei", enter: (*Door).SDKHMAC, at: at}
	s.expect(t, s.open(t), "elsewhere", open, nil)
	s.enter = (*Door).Own
	s.expect(t, s.open(t), "here", open, ErrMalformed)
}

// TestOwnOneCredential: a known certificate and another proof are two callers in one
// request, even if both are the same one.
func TestOwnOneCredential(t *testing.T) {
	at := time.Now().Truncate(time.Second).UTC()
	known, stranger := clientCertificate(t, at.Add(time.Hour)), clientCertificate(t, at.Add(time.Hour))
	d := open(t, Config{Clock: (&clock{now: at}).Now, Credentials: []Credential{ci(),
		{Name: "ops", Role: Viewer, CertificateSHA256: sha256.Sum256(known.Certificate[0])}}})
	token := sent{http.MethodGet, "/api/v1/policies", "localhost", "", http.Header{"X-Auth-Token": {bearer}}}
	for what, req := range map[string]sent{"token": token, "bearer": token.without("X-Auth-Token").set("Authorization", "Bearer "+bearer),
		"signature": huawei(t, at).good, "wrong token": token.set("X-Auth-Token", "wrong")} {
		if caller, _, err := d.Own(over(t, req, known)); !errors.Is(err, ErrMalformed) || caller.Name != "" {
			t.Errorf("%s and a known certificate: %+v, %v", what, caller, err)
		}
		caller, _, err := d.Own(over(t, req, stranger))
		if what == "wrong token" {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%s and a stranger's certificate: %+v, %v", what, caller, err)
			}
		} else if err != nil || caller.Name != "ci" {
			t.Errorf("%s and a stranger's certificate: %+v, %v", what, caller, err)
		}
	}
	if caller, _, err := d.Own(over(t, token.without("X-Auth-Token"), known)); err != nil || caller.Name != "ops" {
		t.Errorf("the certificate alone: %+v, %v", caller, err)
	}
}

// over returns a request as it comes over a connection with that client certificate.
func over(t *testing.T, s sent, c tls.Certificate) *http.Request {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	r := s.request()
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	return r
}
