package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportIsVerifiedByOthers: OpenSSL and the standard library verify what was
// exported, by nothing but what DSSE and in-toto say of the form, and the chain
// can be followed in the payloads alone.
func TestExportIsVerifiedByOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	digests := h.push("library/api", 3)
	h.run(exitOK, "run", "--once")
	h.run(exitOK, "key", "generate", "--out", h.path("audit"))
	h.run(exitOK, "records", "export", "--key", "file:"+h.path("audit.key"), "--out", h.path("records.jsonl"))
	lines := strings.Split(strings.TrimSuffix(h.read("records.jsonl"), "\n"), "\n")
	if len(lines) != len(digests) {
		t.Fatalf("%d lines for %d signatures", len(lines), len(digests))
	}
	previous := strings.Repeat("0", 64)
	for i, line := range lines {
		payload := h.judgeEnvelope(line)
		var s struct {
			Type          string `json:"_type"`
			PredicateType string `json:"predicateType"`
			Subject       []struct {
				Name   string
				Digest map[string]string
			}
			Predicate struct {
				Seq          int
				Hash         string
				PreviousHash string `json:"previous_hash"`
				Record       json.RawMessage
			}
		}
		if err := json.Unmarshal(payload, &s); err != nil {
			t.Fatal(err)
		}
		if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://sealwright.dev/signature-record/v1" ||
			len(s.Subject) != 1 || !strings.HasSuffix(s.Subject[0].Name, "/library/api") || len(s.Subject[0].Digest["sha256"]) != 64 {
			t.Errorf("statement %s", payload)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "sealwright.dev/record-chain/v1\n%d\n%s\n%s", i+1, previous, s.Predicate.Record))
		if got := fmt.Sprintf("%x", sum); s.Predicate.Seq != i+1 || s.Predicate.PreviousHash != previous || s.Predicate.Hash != got {
			t.Errorf("entry %d: %s does not follow from %s", i+1, payload, previous)
		}
		previous = s.Predicate.Hash
	}
	if out, _ := h.run(exitOK, "records", "verify", "--head", previous); !strings.Contains(out, "head      "+previous+"\n") {
		t.Errorf("verify printed %s", out)
	}
}

// judgeEnvelope verifies an envelope with the public half of the key audit, and
// returns its payload.
func (h *house) judgeEnvelope(line string) []byte {
	h.t.Helper()
	var envelope struct {
		PayloadType, Payload string
		Signatures           []struct{ KeyID, Sig string }
	}
	if err := json.Unmarshal([]byte(line), &envelope); err != nil || len(envelope.Signatures) != 1 {
		h.t.Fatalf("%s: %v", line, err)
	}
	payload, err := base64.StdEncoding.DecodeString(envelope.Payload)
	if err != nil {
		h.t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		h.t.Fatal(err)
	}
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(envelope.PayloadType), envelope.PayloadType, len(payload), payload)
	if err := os.WriteFile(h.path("pae"), pae, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path("sig"), sig, 0o600); err != nil {
		h.t.Fatal(err)
	}
	out, err := exec.CommandContext(h.t.Context(), "openssl", "dgst", "-sha256", "-verify", h.path("audit.pub"),
		"-signature", h.path("sig"), h.path("pae")).CombinedOutput()
	if err != nil {
		h.t.Fatalf("openssl: %v\n%s", err, out)
	}
	block, _ := pem.Decode([]byte(h.read("audit.pub")))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		h.t.Fatal(err)
	}
	sum, id := sha256.Sum256(pae), sha256.Sum256(block.Bytes)
	if !ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), sum[:], sig) || envelope.Signatures[0].KeyID != fmt.Sprintf("%x", id) {
		h.t.Errorf("not verified: %s", line)
	}
	return payload
}

// read returns what is in a file of the house.
func (h *house) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// TestExportFaults: whatever is done to the lines of an export is found.
func TestExportFaults(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	h.push("library/api", 4)
	h.run(exitOK, "run", "--once")
	h.run(exitOK, "records", "export", "--key", "release", "--out", h.path("whole"))
	lines := strings.SplitAfter(strings.TrimSuffix(h.read("whole"), "\n"), "\n")
	lines[3] += "\n"
	forged := strings.Replace(lines[1], `"payload":"e`, `"payload":"f`, 1)
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"whole":    {lines, ""},
		"one gone": {[]string{lines[0], lines[2]}, ""},
		"swapped":  {[]string{lines[1], lines[0]}, "line 2: entry 1 comes after entry 2"},
		"twice":    {[]string{lines[0], lines[0]}, "line 2: entry 1 comes after entry 1"},
		"forged":   {[]string{lines[0], forged}, "line 2: has no signature that the key verifies"},
		"torn":     {[]string{lines[0], lines[1][:100]}, "line 2: is not an envelope"},
		"text":     {[]string{"{}\n"}, "line 1: is not an envelope of a statement"},
	} {
		if err := os.WriteFile(h.path("export"), []byte(strings.Join(test.lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		code := exitOK
		if test.want != "" {
			code = exitFailed
		}
		out, _ := h.run(code, "records", "verify", "--export", h.path("export"), "--key", h.path("release.pub"))
		if test.want != "" && !strings.HasPrefix(out, "FAULT     "+test.want+"\n") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestRecordsOfAnOldJournal: a journal that is older than the record chain is migrated
// by the daemon alone, and what is outside of the chain is told from then on.
func TestRecordsOfAnOldJournal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure(fmt.Sprintf(manual, "all"))
	script, err := os.ReadFile("../../engine/journal/testdata/schema3-sqlite.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(must(t, h.path("state"), os.Mkdir(h.path("state"), 0o700)), "sealwright.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), string(script))
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, said := h.run(exitFailed, "records", "verify"); !strings.Contains(said, "has schema version 3") || !strings.Contains(said, "the daemon migrates it when it starts") {
		t.Errorf("before: %s", said)
	}
	h.start().stop()
	said, _ := h.run(exitOK, "records", "verify")
	for _, line := range []string{"verified  2 entries, 2 records\n", "outside   4 records are older than the chain\n"} {
		if !strings.Contains(said, line) {
			t.Errorf("%q is not in\n%s", line, said)
		}
	}
}
