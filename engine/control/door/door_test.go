package door

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBodyLimit: what is too large is refused, unread if its length says so.
func TestBodyLimit(t *testing.T) {
	for _, s := range schemes(t) {
		r := s.good.request()
		r.Body, r.ContentLength = nil, 0
		if _, _, err := s.enter(s.open(t), r); (err == nil) != (s.window == 0) {
			t.Errorf("%s: no body: %v", s.name, err)
		}
		d := open(t, Config{Credentials: []Credential{ci()}, Clock: (&clock{now: s.at}).Now, MaxBody: int64(len(s.good.body))})
		s.expect(t, d, "as large as the limit", s.good, nil)

		d = open(t, Config{Credentials: []Credential{ci()}, Clock: (&clock{now: s.at}).Now, MaxBody: int64(len(s.good.body)) - 1})
		body := &countingBody{Reader: strings.NewReader(s.good.body)}
		r = s.good.request()
		r.Body = body
		_, _, err := s.enter(d, r)
		if !errors.Is(err, ErrTooLarge) || body.read > 0 {
			t.Errorf("%s: %v after %d bytes, want %v after none", s.name, err, body.read, ErrTooLarge)
		}
		if known := CallerOf(err).Name == "ci"; known != (s.window == 0) { // whose proof is not about the body
			t.Errorf("%s: whose body is too large: caller %+v", s.name, CallerOf(err))
		}
		body = &countingBody{Reader: io.MultiReader(strings.NewReader(s.good.body), zeros{})}
		r.Body, r.ContentLength = body, -1
		if _, _, err := s.enter(d, r); !errors.Is(err, ErrTooLarge) || body.read > len(s.good.body) {
			t.Errorf("%s: endless: %v after %d bytes, want %v after %d", s.name, err, body.read, ErrTooLarge, len(s.good.body))
		}
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("x"), broken{})), -1
		if _, _, err := s.enter(d, r); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: broken off: %v, want %v", s.name, err, ErrMalformed)
		}
	}
}

type countingBody struct {
	io.Reader
	read int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *countingBody) Close() error { return nil }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestUnreadWhenHopeless: no body is read for a request that cannot be good.
func TestUnreadWhenHopeless(t *testing.T) {
	for _, s := range schemes(t) {
		r := s.good.request()
		body := &countingBody{Reader: strings.NewReader(s.good.body)}
		r.Body = body
		want := ErrClock
		if s.window == 0 {
			want = ErrUnknown
			r.Header.Set("X-Auth-Token", "other")
		}
		_, _, err := s.enter(openAt(t, s.at.Add(time.Hour)), r)
		if !errors.Is(err, want) || body.read > 0 {
			t.Errorf("%s: %v after %d bytes, want %v after none", s.name, err, body.read, want)
		}
	}
}

// TestClock: both ends of the window are in it, a second more is not.
func TestClock(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue // tokens have no time
		}
		for _, off := range []time.Duration{-s.window, s.window} {
			s.expect(t, openAt(t, s.at.Add(off)), "at the window's end", s.good, nil)
			beyond := off + off/s.window.Abs()*time.Second
			s.expect(t, openAt(t, s.at.Add(beyond)), "beyond the window", s.good, ErrClock)
		}
		s.expect(t, openAt(t, s.at.AddDate(300, 0, 0)), "centuries later", s.good, ErrClock)
	}
}

// TestStrangers: what is signed with another secret, and by whom nobody knows.
func TestStrangers(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		c := ci()
		c.Secret, c.OCIPublicKey = []byte("another secret"), &rsaKeys()[1].PublicKey
		now := (&clock{now: s.at}).Now
		s.expect(t, open(t, Config{Credentials: []Credential{c}, Clock: now}), "another secret", s.good, ErrSignature)
		c.AccessKey, c.OCIKeyID = "AKOTHER", "other"
		s.expect(t, open(t, Config{Credentials: []Credential{c}, Clock: now}), "unknown", s.good, ErrUnknown)
		// The very key of another credential does not make an unknown one known.
		c.Secret, c.OCIPublicKey = []byte(secretKey), &rsaKeys()[0].PublicKey
		s.expect(t, open(t, Config{Credentials: []Credential{c}, Clock: now}), "unknown, signed by somebody known", s.good, ErrUnknown)
		s.expect(t, open(t, Config{Clock: now}), "nobody is known", s.good, ErrUnknown)
	}
}

// TestNobody: an unknown name is unknown even if what it is verified with fits.
func TestNobody(t *testing.T) {
	k := openAt(t, time.Now()).keyring.Load()
	sign := func([]byte) []byte { return []byte("x") }
	if h, err := k.verifyHMAC("nobody", []byte("x"), sign); h != nil || !errors.Is(err, ErrUnknown) {
		t.Errorf("%v, %v", h, err)
	}
	if len(k.stranger.secret) != 32 || bytes.Equal(k.stranger.secret, openAt(t, time.Now()).keyring.Load().stranger.secret) {
		t.Error("the stranger's secret can be guessed")
	}
}

// TestSameWork: an unknown name costs what a wrong signature does. Work is told by
// what it allocates, which does not depend on the machine's load.
func TestSameWork(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		wrong, unknown := ci(), ci()
		wrong.Secret, wrong.OCIPublicKey = []byte("another secret"), &rsaKeys()[1].PublicKey
		unknown.AccessKey, unknown.OCIKeyID, unknown.OCIPublicKey = "AKOTHER", "other", &rsaKeys()[1].PublicKey
		cost := func(c Credential) float64 {
			d := open(t, Config{Credentials: []Credential{c}, Clock: (&clock{now: s.at}).Now})
			return allocations(func() {
				if _, _, err := s.enter(d, s.good.request()); err == nil {
					t.Fatal("let in")
				}
			})
		}
		if a, b := cost(wrong), cost(unknown); a != b {
			t.Errorf("%s: a wrong signature allocates %v times, an unknown name %v times", s.name, a, b)
		}
	}
}

// allocations is how often f allocates at least: what runs beside it, and pools that
// the race detector empties, only add to that.
func allocations(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 200 {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}

// TestReplay: a change is taken once, by name or not, until nobody would take it.
func TestReplay(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		now := &clock{now: s.at.Add(-s.window)}
		d := open(t, Config{Credentials: []Credential{ci()}, Clock: now.Now})
		s.expect(t, d, "first", s.good, nil)
		for _, at := range []time.Duration{-s.window, 0, s.window} {
			now.set(s.at.Add(at))
			s.expect(t, d, "again", s.good, ErrReplayed)
		}
		s.expect(t, d, "with another unsigned header", s.good.set("X-Unsigned", "1"), ErrReplayed)
		if err := d.Replace([]Credential{{Name: "new", Role: Admin, TokenSHA256: hashOf("x")}, ci()}); err != nil {
			t.Fatal(err)
		}
		s.expect(t, d, "after the credentials were replaced", s.good, ErrReplayed)
		now.set(s.at.Add(s.window + time.Second))
		s.expect(t, d, "too late", s.good, ErrClock)
	}
}

// TestRefusedIsNotRemembered: what is refused can be sent again, and takes no memory.
func TestRefusedIsNotRemembered(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		d := s.open(t)
		for range 3 {
			s.expect(t, d, "another host", s.good.with(func(s *sent) { s.uri += "?x=1" }), cmpErr(s.name == "TC3", ErrMalformed, ErrSignature))
		}
		for _, keys := range []map[string]*holder{d.keyring.Load().byAccessKey, d.keyring.Load().byKeyID} {
			for _, h := range keys {
				if len(h.memory.seen) > 0 {
					t.Errorf("%s: a refused request is remembered", s.name)
				}
			}
		}
		s.expect(t, d, "good", s.good, nil)
	}
}

func cmpErr(yes bool, a, b error) error {
	if yes {
		return a
	}
	return b
}

// TestAuthorizationTricks are the same for all schemes.
func TestAuthorizationTricks(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		said := s.good.header.Get("Authorization")
		for what, try := range map[string]struct {
			req  sent
			want error
		}{
			"none":              {s.good.without("Authorization"), ErrNoCredentials},
			"empty":             {s.good.set("Authorization", ""), ErrNoCredentials},
			"twice":             {s.good.add("Authorization", said), ErrMalformed},
			"a token before":    {s.good.with(func(s *sent) { s.header["Authorization"] = []string{"Bearer x", said} }), ErrMalformed},
			"another scheme":    {s.good.set("Authorization", "Basic YTpi"), ErrUnsupported},
			"another algorithm": {s.good.set("Authorization", "V11-HMAC-SHA256 "+said), ErrUnsupported},
			"the scheme alone":  {s.good.set("Authorization", strings.Fields(said)[0]), ErrMalformed},
			"too long":          {s.good.set("Authorization", strings.Replace(said, ",", ","+strings.Repeat(" ", maxAuthorization), 1)), ErrMalformed},
			"a little longer":   {s.good.set("Authorization", strings.Replace(said, ",", ","+strings.Repeat(" ", 1000), 1)), nil},
			"a parameter more":  {s.good.set("Authorization", said+`, X="1"`), ErrMalformed},
			"cut off":           {s.good.set("Authorization", said[:len(said)-3]), ErrMalformed},
			"no path":           {s.good.with(func(s *sent) { s.uri = "http://" + s.host + "/" }), ErrMalformed},
			"no path at all":    {s.good.with(func(s *sent) { s.method, s.uri = http.MethodOptions, "*" }), ErrMalformed},
			"no host":           {s.good.with(func(s *sent) { s.host = "" }), cmpErr(s.name == "Huawei", nil, ErrMalformed)},
		} {
			s.expect(t, s.open(t), what, try.req, try.want)
		}
		r := s.good.request()
		r.URL.Path += "/elsewhere"
		if _, _, err := s.enter(s.open(t), r); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: routed elsewhere: %v", s.name, err)
		}
		r = s.good.request()
		r.URL.RawQuery += "&x=elsewhere"
		if _, _, err := s.enter(s.open(t), r); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: asked something else: %v", s.name, err)
		}
	}
}

// TestConcurrentReplay: of many at once, one is taken.
func TestConcurrentReplay(t *testing.T) {
	for _, s := range schemes(t) {
		if s.window == 0 {
			continue
		}
		d := s.open(t)
		var wg sync.WaitGroup
		taken := make(chan struct{}, 16)
		for range cap(taken) {
			wg.Go(func() {
				if _, _, err := s.enter(d, s.good.request()); err == nil {
					taken <- struct{}{}
				}
			})
		}
		wg.Wait()
		if len(taken) != 1 {
			t.Errorf("%s: taken %d times", s.name, len(taken))
		}
	}
}

// TestCallerIsACopy: who gets a caller cannot change what the next gets.
func TestCallerIsACopy(t *testing.T) {
	for _, s := range schemes(t) {
		d := s.open(t)
		first, _, err := s.enter(d, s.good.request())
		if err != nil {
			t.Fatal(err)
		}
		first.Registries[0] = "other"
		if !bytes.Contains([]byte(d.keyring.Load().byAccessKey[accessKey].caller.Registries[0]), []byte("prod")) ||
			d.keyring.Load().byKeyID[keyID].caller.Registries[0] != "prod" || d.keyring.Load().tokens[0].caller.Registries[0] != "prod" {
			t.Errorf("%s: a caller changed the credential", s.name)
		}
	}
}

// TestServed: the door behind a server, with bodies of known length and in chunks.
func TestServed(t *testing.T) {
	for _, s := range schemes(t) {
		for _, length := range []int64{int64(len(s.good.body)), -1} {
			d := s.open(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				caller, body, err := s.enter(d, r)
				fmt.Fprintf(w, "%s %s %v", caller.Name, body, err)
			}))
			t.Cleanup(server.Close)
			r, err := http.NewRequestWithContext(t.Context(), s.good.method, server.URL+s.good.uri, strings.NewReader(s.good.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Host, r.Header, r.ContentLength = s.good.host, s.good.header.Clone(), length
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if want := "ci " + s.good.body + " <nil>"; err != nil || string(got) != want {
				t.Errorf("%s: length %d: got %q, want %q", s.name, length, got, want)
			}
			_ = resp.Body.Close()
		}
	}
}
