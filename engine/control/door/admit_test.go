package door

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestAdmit: who sends too much is refused after it proved who it is, and before its
// request is remembered: it may send it again as it is.
func TestAdmit(t *testing.T) {
	t.Parallel()
	busy := errors.New("too many")
	var refuse bool
	var asked []string
	d := open(t, Config{Credentials: []Credential{ci()}, Admit: func(c Caller, _ *http.Request) error {
		asked = append(asked, c.Name)
		if refuse {
			return busy
		}
		return nil
	}})
	token := func(value string) error {
		r := httptest.NewRequest(http.MethodDelete, "/x", nil)
		r.Header.Set("X-Auth-Token", value)
		_, _, err := d.Token(r)
		return err
	}
	if err := token("of nobody"); !errors.Is(err, ErrUnknown) || len(asked) != 0 {
		t.Errorf("a stranger: %v, asked about %v", err, asked)
	}
	refuse = true
	if err := token(bearer); !errors.Is(err, busy) {
		t.Error(err)
	}
	refuse = false
	if err := token(bearer); err != nil {
		t.Error(err)
	}
}

// TestAdmitBeforeMemory: a refused change is not taken for a replay when it comes
// again.
func TestAdmitBeforeMemory(t *testing.T) {
	t.Parallel()
	busy := errors.New("too many")
	refuse := true
	c := claim{at: time.Now(), window: time.Hour, signature: []byte("s"), text: func([]byte) ([]byte, error) { return nil, nil },
		verify: func(k *keyring, _ []byte) (*holder, error) { return k.byAccessKey[accessKey], nil }}
	d := open(t, Config{Credentials: []Credential{ci()}, Admit: func(Caller, *http.Request) error {
		if refuse {
			return busy
		}
		return nil
	}})
	enter := func() error {
		_, _, err := d.enter(httptest.NewRequest(http.MethodDelete, "/x", nil), c)
		return err
	}
	if err := enter(); !errors.Is(err, busy) {
		t.Error(err)
	}
	refuse = false
	if err := enter(); err != nil {
		t.Errorf("the refused change again: %v", err)
	}
	if err := enter(); !errors.Is(err, ErrReplayed) {
		t.Errorf("a replay: %v", err)
	}
	again := httptest.NewRequest(http.MethodDelete, "/x", strings.NewReader("body"))
	_, _, err := d.enter(again, c)
	if said := (*ReplayedError)(nil); !errors.As(err, &said) || said.Caller.Name != "ci" || string(said.Body) != "body" {
		t.Errorf("a replay is told as %#v", err)
	}
}

// TestSeesNamespace: who sees a namespace sees what is in and below it, and not its
// registry as a whole.
func TestSeesNamespace(t *testing.T) {
	t.Parallel()
	c := Caller{Role: Viewer, Registries: []string{"prod"}, Namespaces: []string{"team-a", "shared/base"}}
	for name, want := range map[string]bool{"team-a": true, "team-a/app": true, "shared/base/x": true,
		"": false, "team-ab": false, "shared": false, "other": false} {
		if c.SeesNamespace("prod", name) != want || c.SeesNamespace("other", name) {
			t.Errorf("sees %q: %v", name, !want)
		}
	}
	all := Caller{Role: Viewer}
	if !all.SeesNamespace("prod", "") || !all.SeesAll() || c.SeesAll() || (Caller{}).SeesAll() || (Caller{}).SeesNamespace("prod", "x") {
		t.Error("who sees all does not, or who does not does")
	}
}

// TestUses: a caller who sees a part uses only the keys that are its own, and one who
// sees everything all, or those that are named.
func TestUses(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		caller Caller
		want   bool
	}{
		"all":               {Caller{Role: Admin}, true},
		"all, others' keys": {Caller{Role: Admin, Keys: []string{"mine"}}, false},
		"one registry":      {Caller{Role: Admin, Registries: []string{"prod"}}, false},
		"one namespace":     {Caller{Role: Admin, Namespaces: []string{"team"}}, false},
		"one registry, key": {Caller{Role: Admin, Registries: []string{"prod"}, Keys: []string{"release"}}, true},
		"nobody":            {Caller{}, false},
	} {
		if c.caller.Uses("release") != c.want {
			t.Errorf("%s: %v", what, !c.want)
		}
	}
}

// TestUnprovenBodies: bodies of who has not proved yet who it is have so much room and no
// more; small ones, and those of who has a token, need none.
func TestUnprovenBodies(t *testing.T) {
	t.Parallel()
	d := open(t, Config{Credentials: []Credential{ci()}, MaxBody: 100 << 10, MaxUnproven: 100 << 10})
	request := func(size int64) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x"))
		r.ContentLength = size
		return r
	}
	release, err := d.reserve(request(60 << 10))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // who waits gives up at once
	if _, err := d.reserve(request(60 << 10).WithContext(ctx)); !errors.Is(err, ErrBusy) {
		t.Errorf("a second large body: %v", err)
	}
	if _, err := d.reserve(request(-1).WithContext(ctx)); !errors.Is(err, ErrBusy) {
		t.Errorf("a body of unknown size: %v", err)
	}
	for range 100 {
		if _, err := d.reserve(request(smallBody).WithContext(ctx)); err != nil {
			t.Fatalf("a small body: %v", err)
		}
	}
	if _, err := d.reserve(request(1 << 40).WithContext(ctx)); err != nil {
		t.Errorf("one that is not read at all: %v", err)
	}
	release()
	again, err := d.reserve(request(60 << 10))
	if err != nil {
		t.Fatalf("when there is room again: %v", err)
	}
	again()
}

// TestNobodyHere: no body is read where nobody can prove anything by that scheme.
func TestNobodyHere(t *testing.T) {
	t.Parallel()
	d := open(t, Config{Credentials: []Credential{{Name: "t", Role: Viewer, TokenSHA256: hashOf(bearer)}}})
	for _, s := range []proofScheme{byAccessKey, byOCIKey} {
		read := &unreadBody{}
		r := httptest.NewRequest(http.MethodPost, "/", read)
		c := claim{scheme: s, at: time.Now(), window: time.Hour, text: func([]byte) ([]byte, error) { return nil, nil }}
		if _, _, err := d.enter(r, c); !errors.Is(err, ErrUnknown) || read.n > 0 {
			t.Errorf("%v, %d bytes were read", err, read.n)
		}
	}
}

type unreadBody struct{ n int }

func (b *unreadBody) Read(p []byte) (int, error) { b.n += len(p); return len(p), nil }
