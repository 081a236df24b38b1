package door

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var errKinds = []error{ErrNoCredentials, ErrMalformed, ErrUnsupported, ErrUnknown, ErrSignature, ErrClock, ErrReplayed, ErrBusy, ErrTooLarge, ErrBodyHash}

// rsaKeys are made once: they are slow to make.
var rsaKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// A clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// ci is who most tests are.
func ci() Credential {
	return Credential{Name: "ci", Role: Operator, Registries: []string{"prod"}, AccessKey: accessKey, Secret: []byte(secretKey),
		OCIKeyID: keyID, OCIPublicKey: &rsaKeys()[0].PublicKey, TokenSHA256: hashOf(bearer)}
}

func open(tb testing.TB, c Config) *Door {
	tb.Helper()
	d, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// openAt returns a door for ci with a clock that stands still.
func openAt(tb testing.TB, now time.Time) *Door {
	tb.Helper()
	return open(tb, Config{Credentials: []Credential{ci()}, Clock: (&clock{now: now}).Now})
}

// A sent request is one as it came over the wire.
type sent struct {
	method, uri, host, body string
	header                  http.Header
}

// request returns it as a server gets it.
func (s sent) request() *http.Request {
	r := httptest.NewRequest(s.method, s.uri, strings.NewReader(s.body))
	r.Host, r.Header = s.host, s.header.Clone()
	return r
}

// with returns a changed copy.
func (s sent) with(change func(*sent)) sent {
	s.header = s.header.Clone()
	change(&s)
	return s
}

// edit returns a copy in whose Authorization header old is new.
func (s sent) edit(old, replacement string) sent {
	return s.with(func(s *sent) {
		s.header.Set("Authorization", strings.Replace(s.header.Get("Authorization"), old, replacement, 1))
	})
}

// set returns a copy with a header.
func (s sent) set(name, value string) sent {
	return s.with(func(s *sent) { s.header.Set(name, value) })
}

// add returns a copy with one more header of a name.
func (s sent) add(name, value string) sent {
	return s.with(func(s *sent) { s.header.Add(name, value) })
}

func (s sent) without(name string) sent {
	return s.with(func(s *sent) { s.header.Del(name) })
}

// capture is a server that keeps what it gets.
type capture struct {
	*httptest.Server
	mu  sync.Mutex
	got []sent
}

func newCapture(tb testing.TB, answer string) *capture {
	c := &capture{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.got = append(c.got, sent{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()})
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	tb.Cleanup(c.Close)
	return c
}

// last returns the request that came last.
func (c *capture) last(tb testing.TB) sent {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) == 0 {
		tb.Fatal("nothing was sent")
	}
	return c.got[len(c.got)-1]
}

// A scheme is a way to enter, with a signed change that it lets in.
type scheme struct {
	name  string
	enter func(d *Door, r *http.Request) (Caller, []byte, error)
	good  sent
	at    time.Time
	// window is how far the clocks may be apart.
	window time.Duration
}

func (s scheme) open(tb testing.TB) *Door { return openAt(tb, s.at) }

// expect reports a request whose verdict is not want.
func (s scheme) expect(t *testing.T, d *Door, what string, req sent, want error) {
	t.Helper()
	caller, body, err := s.enter(d, req.request())
	if !errors.Is(err, want) {
		t.Errorf("%s: %s: got %v, want %v", s.name, what, err, want)
	}
	if want == nil && (caller.Name != "ci" || caller.Role != Operator || string(body) != req.body) {
		t.Errorf("%s: %s: caller %+v, body %q", s.name, what, caller, body)
	}
	if want != nil && (caller.Name != "" || caller.Sees("prod") || body != nil) {
		t.Errorf("%s: %s: refused, but caller %+v, body %q", s.name, what, caller, body)
	}
	checkError(t, s.name+": "+what, err)
}

// checkError reports an error that says a secret, or is of no kind or of two.
func checkError(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var kinds []error
	for _, kind := range errKinds {
		if errors.Is(err, kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) != 1 {
		t.Errorf("%s: error %v is of the kinds %v", what, err, kinds)
	}
	for _, word := range []string{secretKey, accessKey, bearer, keyID} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("%s: error %q says %q", what, err, word)
		}
	}
}

const (
	accessKey = "AKEXAMPLE0000000001"
	secretKey = "SKEXAMPLE00000000000000000000000000000001"
	keyID     = "ocid1.tenancy.oc1..t/ocid1.user.oc1..u/00:11"
	bearer    = "token-for-the-probe"
)
