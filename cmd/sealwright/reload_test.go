package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// fingerprints are those of the keys of the setup in force, and empty for keys
// that are not there.
func (d *service) fingerprints() map[string]string {
	out := map[string]string{}
	for _, k := range d.engine.Keys() {
		out[k.Name] = k.Fingerprint
	}
	return out
}

// reopenNow reopens and waits for what comes of it.
func (d *service) reopenNow(t *testing.T) {
	t.Helper()
	if d.reopen(t.Context()); d.opening == nil {
		t.Fatal("no key is asked for again")
	}
	d.settle()
}

// TestReopen asks for the keys alone that were not there: the others stay as
// they are, whatever has become of them in their store, and so do the switches.
func TestReopen(t *testing.T) {
	vault := vaulttest.New(t)
	vault.CreateKey(t, "transit/well", "ecdsa-p256")
	h := newHouse(t)
	if err := os.WriteFile(h.path("token"), []byte(vault.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	h.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true}]
key_stores: [{name: vault, kind: hashivault, endpoint: %q, auth: {token_file: token}}]
keys:
  - {name: release, uri: "file:release.key"}
  - {name: well, uri: "hashivault://well", store: vault}
  - {name: late, uri: "hashivault://late", store: vault}
  - {name: never, uri: "hashivault://never", store: vault}
policies:
  - {name: all, registry: test, key: release, trigger: {type: manual}, scope: [{repositories: "**", tags: "**"}]}
state: %q
`, h.registry.Host, vault.URL, h.path("state")))
	cfg, err := configs.Load(h.path(localConfig))
	if err != nil {
		t.Fatal(err)
	}
	d := &service{log: zap.NewNop(), opener: &opener{}, config: cfg}
	setup, err := d.opener.open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.engine = engine.New(engine.Options{Setup: setup})
	before := d.fingerprints()
	if before["release"] == "" || before["well"] == "" || before["late"] != "" || before["never"] != "" {
		t.Fatalf("keys at first: %v", before)
	}
	release := d.opener.keys["release"].Signer

	// A reload that was refused has disabled a key.
	disabling := *cfg
	disabling.Keys = append([]configs.Key{}, cfg.Keys...)
	disabling.Keys[0].Disabled = true
	d.opener.turnOff(&disabling)

	d.reopenNow(t)
	if d.opener.keys["release"].Signer != release {
		t.Error("nothing is there that was not, and yet the setup was replaced")
	}
	vault.Replace(t, "transit/well", 1)
	vault.CreateKey(t, "transit/late", "ecdsa-p256")
	d.reopenNow(t)
	after := d.fingerprints()
	if after["late"] == "" || after["never"] != "" {
		t.Errorf("keys afterwards: %v", after)
	}
	if after["release"] != before["release"] || after["well"] != before["well"] {
		t.Errorf("keys that were there changed: %v, before %v", after, before)
	}
	if _, err := release.Sign(t.Context(), []byte("x")); !errors.Is(err, kms.ErrDisabled) {
		t.Errorf("the disabled key: %v, want that it stays disabled", err)
	}
	vault.Delete("transit/well")
	vault.CreateKey(t, "transit/never", "ecdsa-p256")
	d.reopenNow(t)
	if all := d.fingerprints(); all["never"] == "" || all["well"] != before["well"] {
		t.Errorf("keys in the end: %v", all)
	}
	if d.reopen(t.Context()); d.opening != nil {
		t.Error("all keys are there, and one is asked for")
	}
}

// TestLentSigners are closed once, by the last who has one.
func TestLentSigners(t *testing.T) {
	closed := 0
	first := lend(closing{closed: &closed})
	second, third := lend(first), lend(first)
	for _, s := range []kms.Signer{second, first} {
		if err := s.Close(); err != nil || closed != 0 {
			t.Fatalf("closed %d times, %v", closed, err)
		}
	}
	if err := third.Close(); err != nil || closed != 1 {
		t.Errorf("closed %d times, %v; want once", closed, err)
	}
}

type closing struct {
	kms.Signer
	closed *int
}

func (c closing) Close() error {
	*c.closed++
	return nil
}
