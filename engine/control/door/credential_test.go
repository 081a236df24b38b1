package door

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v4"
)

// TestSecretsAreNotPrinted: by no verb, encoder or logger, alone or inside others.
func TestSecretsAreNotPrinted(t *testing.T) {
	c := ci()
	d := openAt(t, time.Now())
	var out strings.Builder
	for _, v := range []any{c, &c, []Credential{c}, map[string]*Credential{"x": &c}, struct{ C Credential }{c}, Config{Credentials: []Credential{c}}, d, struct{ D *Door }{d}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
	}
	out.WriteString(c.String())
	for _, v := range []any{c, &c, []Credential{c}, d} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
		if data, err = yaml.Marshal(v); err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	var logs bytes.Buffer
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&logs), zap.DebugLevel)).Info("x", zap.Any("c", c), zap.Any("p", &c), zap.Any("d", d), zap.Reflect("r", c))
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("x", "c", c, "d", d)
	slog.New(slog.NewTextHandler(&logs, nil)).Info("x", "c", c, "d", d)
	out.Write(logs.Bytes())
	token := hashOf(bearer)
	for what, secret := range map[string]string{
		"the secret":             secretKey,
		"the secret's bytes":     decimal([]byte(secretKey)),
		"the secret in hex":      hex.EncodeToString([]byte(secretKey)),
		"the secret in base64":   "U0tFWEFNUExF",
		"the token's hash":       hex.EncodeToString(token[:]),
		"the token hash's bytes": decimal(token[:]),
	} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(secret)) {
			t.Errorf("%s is printed", what)
		}
	}
	if !strings.Contains(out.String(), `credential "ci" (operator)`) || strings.Count(logs.String(), "credential") < 5 {
		t.Errorf("it is not said who it is:\n%s", logs.String())
	}
}

// decimal is how fmt writes bytes, without brackets.
func decimal(data []byte) string {
	words := make([]string, len(data))
	for i, b := range data {
		words[i] = strconv.Itoa(int(b))
	}
	return strings.Join(words, " ")
}

func TestCaller(t *testing.T) {
	for _, v := range []struct {
		caller Caller
		sees   bool
	}{
		{Caller{}, false},
		{Caller{Name: "x", Registries: []string{"prod"}}, false},
		{Caller{Role: Viewer}, true},
		{Caller{Role: Admin, Registries: []string{"test"}}, false},
		{Caller{Role: Viewer, Registries: []string{"test", "prod"}}, true},
		{Caller{Role: Viewer, Registries: []string{"PROD", "prod2"}}, false},
	} {
		if got := v.caller.Sees("prod"); got != v.sees {
			t.Errorf("%+v sees prod: %v", v.caller, got)
		}
	}
	if Viewer >= Operator || Operator >= Admin || Role(0) >= Viewer {
		t.Error("the roles are not in order")
	}
	if got := fmt.Sprint(Role(0), Viewer, Operator, Admin); got != "none viewer operator admin" {
		t.Errorf("roles are %s", got)
	}
}

// TestConfigIsRefused: each fault of a credential, and all at once.
func TestConfigIsRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other := &rsaKeys()[1].PublicKey
	base := func(name string) Credential {
		return Credential{Name: name, Role: Viewer, AccessKey: name, Secret: []byte("secret of " + name)}
	}
	with := func(change func(*Credential)) []Credential {
		c := base("b")
		change(&c)
		a := ci()
		a.Name = "a"
		return []Credential{a, c}
	}
	for want, credentials := range map[string][]Credential{
		"name is missing":                 with(func(c *Credential) { c.Name = "" }),
		"role is none":                    with(func(c *Credential) { c.Role = 0 }),
		"allowed: viewer, operator":       with(func(c *Credential) { c.Role = Admin + 1 }),
		"a registry has no name":          with(func(c *Credential) { c.Registries = []string{"x", ""} }),
		"an access key and its secret go": with(func(c *Credential) { c.Secret = nil }),
		"secret go together":              with(func(c *Credential) { c.AccessKey = "" }),
		"the access key has characters":   with(func(c *Credential) { c.AccessKey = "a/b" }),
		"visible ASCII without /":         with(func(c *Credential) { c.AccessKey = "ü" }),
		"an OCI key id and its public":    with(func(c *Credential) { c.OCIKeyID = "x" }),
		"public key go together":          with(func(c *Credential) { c.OCIPublicKey = other }),
		"the OCI key id has characters":   with(func(c *Credential) { c.OCIKeyID, c.OCIPublicKey = `a"b`, other }),
		"the OCI public key is too small": with(func(c *Credential) { c.OCIKeyID, c.OCIPublicKey = "x", &small.PublicKey }),
		"RSA of 2048 bits or more":        with(func(c *Credential) { c.OCIKeyID, c.OCIPublicKey = "x", &rsa.PublicKey{} }),
		"nothing proves who it is":        {{Name: "b", Role: Viewer}},
		"has the same name":               with(func(c *Credential) { c.Name = "a" }),
		"has the same access key":         with(func(c *Credential) { c.AccessKey = accessKey }),
		"has the same secret":             with(func(c *Credential) { c.Secret = []byte(secretKey) }),
		"has the same OCI key id":         with(func(c *Credential) { c.OCIKeyID, c.OCIPublicKey = keyID, other }),
		"has the same OCI public key":     with(func(c *Credential) { c.OCIKeyID, c.OCIPublicKey = "x", ci().OCIPublicKey }),
		"has the same token":              with(func(c *Credential) { c.TokenSHA256 = hashOf(bearer) }),
	} {
		d, err := New(Config{Credentials: credentials})
		if err == nil || d != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
			continue
		}
		if strings.Contains(err.Error(), secretKey) || strings.Contains(err.Error(), "secret of") {
			t.Errorf("error %q says a secret", err)
		}
	}
	_, err = New(Config{Credentials: []Credential{{Name: "first"}, base("good"), {Name: "third"}}})
	if err == nil || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "third") || strings.Contains(err.Error(), "good") {
		t.Errorf("not all faults, or too many: %v", err)
	}
	for _, c := range []Config{{MaxBody: -1}, {TC3Window: -1}, {SDKHMACWindow: -1}, {OCIWindow: -1}, {Remembered: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// TestReplace: a faulty replacement changes nothing; a good one shuts out who is
// not in it.
func TestReplace(t *testing.T) {
	for _, s := range schemes(t) {
		d := s.open(t)
		if err := d.Replace([]Credential{{Name: "x"}}); err == nil {
			t.Fatal("a faulty credential was taken")
		}
		s.expect(t, d, "after a faulty replacement", s.good, nil)
		d = s.open(t)
		if err := d.Replace(nil); err != nil {
			t.Fatal(err)
		}
		s.expect(t, d, "after it was taken out", s.good, ErrUnknown)
	}
}

// TestSecretIsCopied: what is done to a secret after it was given has no effect.
func TestSecretIsCopied(t *testing.T) {
	for _, s := range schemes(t) {
		c := ci()
		d := open(t, Config{Credentials: []Credential{c}, Clock: (&clock{now: s.at}).Now})
		clear(c.Secret)
		c.Registries[0] = "other"
		caller, _, err := s.enter(d, s.good.request())
		if err != nil || !caller.Sees("prod") {
			t.Errorf("%s: %+v, %v", s.name, caller, err)
		}
	}
}

// TestSight: who sees everything, and may do the same, is one for reads; nobody else is.
func TestSight(t *testing.T) {
	t.Parallel()
	same := []Caller{{Name: "a", Role: Viewer}, {Name: "b", Role: Viewer, Keys: []string{}}}
	others := []Caller{
		same[0], {Name: "a", Role: Admin}, {Name: "a", Role: Viewer, Keys: []string{"k"}}, {Name: "a", Role: Viewer, Keys: []string{"k", "l"}},
		{Name: "a", Role: Viewer, Keys: []string{"k l"}}, {Name: "a", Role: Viewer, Registries: []string{"k"}}, {Name: "b", Role: Viewer, Registries: []string{"k"}},
		{Name: "a", Role: Viewer, Namespaces: []string{"k"}}, {Name: "a", Role: Viewer, Namespaces: []string{`k" "l`}},
		{Name: "a", Role: Viewer, Namespaces: []string{"k", "l"}}, {},
	}
	if same[0].Sight() != same[1].Sight() {
		t.Errorf("%s and %s", same[0].Sight(), same[1].Sight())
	}
	seen := map[string]bool{}
	for _, c := range others {
		if seen[c.Sight()] {
			t.Errorf("%+v sees what another does: %s", c, c.Sight())
		}
		seen[c.Sight()] = true
	}
}
