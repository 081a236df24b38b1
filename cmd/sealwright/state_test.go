package main

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestStateHasNoSecrets: what a daemon that has signed keeps in its state has neither
// its key nor a secret of its callers and events.
func TestStateHasNoSecrets(t *testing.T) {
	h := newHouse(t)
	h.push("library/api", 1)
	secrets := map[string][]byte{"token": []byte("token-0123456789-0123456789-0123456789"), "secret": []byte("secret-9876543210-9876543210-9876543210")}
	for name, secret := range secrets {
		if err := os.WriteFile(h.path(name), secret, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	h.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true, events: {source: distribution, secret_file: secret}}]
keys: [{name: release, uri: "file:release.key"}]
policies: [%s]
state: %q
listen: %q
access: [{name: ci, role: admin, token_file: token}]
`, h.registry.Host, fmt.Sprintf(manual, "all"), h.path("state"), address))
	text, err := os.ReadFile(h.path("release.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("the key is no PEM")
	}
	secrets["key"] = block.Bytes[:len(block.Bytes)/2] // in PKCS #8 the private half comes first
	secrets["key as text"] = []byte(base64.StdEncoding.EncodeToString(block.Bytes))[:60]
	h.start()
	h.run(exitOK, "trigger", "all")
	signed := false
	err = filepath.WalkDir(h.path("state"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		signed = signed || bytes.Contains(text, []byte("library/api"))
		for name, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s has the %s", path, name)
			}
		}
		return err
	})
	if err != nil || !signed {
		t.Errorf("what was signed was found: %t, %v", signed, err)
	}
}
