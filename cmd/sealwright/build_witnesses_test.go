package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
)

// writeLogKey writes the public key of a log and returns its path.
func writeLogKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPoliciesShareALog(t *testing.T) {
	const url, other = "https://rekor.example.com", "https://other.example.com"
	key := writeLogKey(t)
	o := &opener{}
	log := func(url, key string) any {
		t.Helper()
		w, err := o.witnesses(policy.Policy{TransparencyLog: url, TransparencyLogKey: key})
		if err != nil {
			t.Fatal(err)
		}
		return w.Log
	}
	one := log(url, key)
	if one == nil || one != log(url, key) {
		t.Error("two policies that name one log have two")
	}
	if one == log(url, "") || one == log(url, writeLogKey(t)) || one == log(other, key) {
		t.Error("policies that name different logs have the same")
	}
	if len(o.transports) != 2 {
		t.Errorf("%d budgets for 2 URLs", len(o.transports))
	}
	if w, err := o.witnesses(policy.Policy{}); err != nil || w.Log != nil || w.Timestamps != nil {
		t.Errorf("a policy that names none has the witnesses %+v, %v", w, err)
	}
}

func TestBadLogKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, reason := range map[string]string{file: "not one PEM block", file + ".not": "no such file"} {
		_, err := (&opener{}).witnesses(policy.Policy{TransparencyLog: "https://rekor.example.com", TransparencyLogKey: path})
		if err == nil || !strings.Contains(err.Error(), "transparency_log_key") || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What witnesses are judged by includes what is in their files: roots or a log's
// key that are replaced under the same path are others.
func TestWitnessIDKnowsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.pem")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := func(p policy.Policy) string {
		t.Helper()
		got, err := witnessID(p)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	stamped := policy.Policy{Timestamp: policy.Timestamps{{URL: "https://tsa.example.com", CA: path}}}
	logged := policy.Policy{TransparencyLog: "https://log.example.com", TransparencyLogKey: path}
	write("first")
	seen := map[string]bool{id(policy.Policy{}): true, id(stamped): true, id(logged): true}
	if again := id(stamped); !seen[again] {
		t.Error("the same witnesses have two ids")
	}
	write("second")
	seen[id(stamped)], seen[id(logged)] = true, true
	if len(seen) != 5 {
		t.Errorf("%d ids of five different demands", len(seen))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := witnessID(stamped); err == nil {
		t.Error("roots that are not there have an id")
	}
}
