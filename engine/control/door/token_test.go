package door

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	s := scheme{name: "Token", enter: (*Door).Token, at: time.Now()}
	req := sent{http.MethodPut, "/x", "localhost", "{}", http.Header{}}
	token := func(v string) sent { return req.set("X-Auth-Token", v) }
	said := func(v string) sent { return req.set("Authorization", v) }
	s.tryAll(t, []try{
		{"X-Auth-Token", token(bearer), nil},
		{"Bearer", said("Bearer " + bearer), nil},
		{"bearer", said("bearer " + bearer), nil},
		{"none", req, ErrNoCredentials},
		{"empty", token(""), ErrMalformed},
		{"Bearer without a token", said("Bearer "), ErrMalformed},
		{"Bearer alone", said("Bearer"), ErrMalformed},
		{"Basic", said("Basic " + bearer), ErrUnsupported},
		{"a signature", said("TC3-HMAC-SHA256 Credential=x"), ErrUnsupported},
		{"another", token(bearer + "x"), ErrUnknown},
		{"the beginning of one", token(bearer[:5]), ErrUnknown},
		{"its hash", token(hexSHA256([]byte(bearer))), ErrUnknown},
		{"two", token(bearer).add("X-Auth-Token", bearer), ErrMalformed},
		{"both ways", token(bearer).set("Authorization", "Bearer "+bearer), ErrMalformed},
		{"two Authorization headers", said("Bearer "+bearer).add("Authorization", "Bearer "+bearer), ErrMalformed},
		{"too long", token(strings.Repeat("x", maxAuthorization+1)), ErrMalformed},
	})
	// A token is its own proof, any number of times.
	d := s.open(t)
	s.expect(t, d, "once", token(bearer), nil)
	s.expect(t, d, "twice", token(bearer), nil)
	// Who has no token is nobody's: a zero hash is not one.
	c := ci()
	c.TokenSHA256 = [32]byte{}
	d = open(t, Config{Credentials: []Credential{c}})
	s.expect(t, d, "nobody has a token", token(bearer), ErrUnknown)
	if len(d.keyring.Load().tokens) != 0 {
		t.Error("a zero hash is a token")
	}
	// The last of many is found, and only that.
	credentials := []Credential{{Name: "a", Role: Viewer, TokenSHA256: hashOf("a")}, {Name: "b", Role: Viewer, TokenSHA256: hashOf("b")}, ci()}
	for _, name := range []string{"a", "b"} {
		caller, _, err := open(t, Config{Credentials: credentials}).Token(token(name).request())
		if err != nil || caller.Name != name || caller.Role != Viewer {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
	s.expect(t, open(t, Config{Credentials: credentials}), "the last", token(bearer), nil)
}
