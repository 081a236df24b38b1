package door

import (
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
