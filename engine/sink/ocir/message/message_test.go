package message_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
)

// uploaded is what a client of OCI's Go SDK uploaded.
const uploaded = "eyJkZXNjcmlwdGlvbiI6ImFjY2VwdGFuY2UiLCJpbWFnZURpZ2VzdCI6InNoYTI1NjplN2QzOGIzNTE3NTQ4YTFjNzFlNDFiZmZlOWM4YWU2ZDZkMjk1NDZjZTQ2YmY2MjE1OTgzN2FhZDA3MmM5MGFhIiwia21zS2V5SWQiOiJvY2lkMS5rZXkub2MxLnBoeC5iYnFlaGFxM2FhZGZhLmFieWhleGFtcGxld3JtejIyc2l4YSIsImttc0tleVZlcnNpb25JZCI6Im9jaWQxLmtleXZlcnNpb24ub2MxLnBoeC4wLmJicWVoYXEzYWFkZmEuYWN5NmV4YW1wbGVxZHd5YzJwdHVuIiwibWV0YWRhdGEiOiIiLCJyZWdpb24iOiJ1cy1waG9lbml4LTEiLCJyZXBvc2l0b3J5TmFtZSI6ImxpYnJhcnkvYXBwIiwic2lnbmluZ0FsZ29yaXRobSI6IlNIQV8yNTZfUlNBX1BLQ1NfUFNTIn0="

func example() message.Message {
	return message.Message{Description: "acceptance", ImageDigest: "sha256:e7d38b3517548a1c71e41bffe9c8ae6d6d29546ce46bf62159837aad072c90aa",
		KMSKeyID: "ocid1.key.oc1.phx.bbqehaq3aadfa.abyhexamplewrmz22sixa", KMSKeyVersionID: "ocid1.keyversion.oc1.phx.0.bbqehaq3aadfa.acy6exampleqdwyc2ptun",
		Region: "us-phoenix-1", RepositoryName: "library/app", SigningAlgorithm: "SHA_256_RSA_PKCS_PSS"}
}

// TestUploaded: what a client uploaded is read, and built again as it was.
func TestUploaded(t *testing.T) {
	m, signed, err := message.Parse(uploaded)
	if d := cmp.Diff(example(), m); d != "" || err != nil {
		t.Fatal(d, err)
	}
	again, text, err := m.Build()
	if text != uploaded || string(again) != string(signed) || err != nil {
		t.Errorf("%s, %v", again, err)
	}
}

// TestEscapes: characters are written as Python's json.dumps does, and read however
// they are written.
func TestEscapes(t *testing.T) {
	m := message.Message{Description: "a\"\\\b\f\n\r\t\x00\x1f\x7f/<>&\u00e9\u2028\U0001F600~", Metadata: `{"a":"b"}`}
	const want = `{"description":"a\"\\\b\f\n\r\t\u0000\u001f\u007f/<>&\u00e9\u2028\ud83d\ude00~","imageDigest":"","kmsKeyId":"","kmsKeyVersionId":"",` +
		`"metadata":"{\"a\":\"b\"}","region":"","repositoryName":"","signingAlgorithm":""}`
	signed, text, err := m.Build()
	if string(signed) != want || err != nil {
		t.Errorf("%s, %v", signed, err)
	}
	other := strings.NewReplacer(`<>&`, `\u003c\u003E\u0026`, `\u00e9`, "\u00e9", `\ud83d\ude00`, "\U0001F600").Replace(want)
	for _, text := range []string{text, base64.StdEncoding.EncodeToString([]byte(other))} {
		if got, _, err := message.Parse(text); got != m || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// TestMalformed: what is not exactly such a message is refused.
func TestMalformed(t *testing.T) {
	good, text, err := example().Build()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, replacement string) string {
		if !strings.Contains(string(good), old) {
			t.Fatal(old)
		}
		return base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(good), old, replacement, 1)))
	}
	for what, bad := range map[string]string{
		"nothing":          "",
		"not base64":       "%",
		"no padding":       strings.TrimRight(text, "="),
		"a line break":     text[:8] + "\n" + text[8:],
		"url base64":       strings.NewReplacer("+", "-", "/", "_").Replace(edit("acceptance", "\u00ff\u00ff\u00fb~~~???")),
		"trailing bits":    base64.StdEncoding.EncodeToString([]byte("{}"))[:3] + "1",
		"blanks":           edit(",", ", "),
		"a line feed":      edit("}", "}\n"),
		"trailing text":    edit(`"}`, `"}{}`),
		"another member":   edit(`"}`, `","x":""}`),
		"a member twice":   edit(`"imageDigest"`, `"description":"","imageDigest"`),
		"a member missing": edit(`"region":"us-phoenix-1",`, ``),
		"another order":    edit(`"description":"acceptance","imageDigest":"`+example().ImageDigest+`"`, `"imageDigest":"`+example().ImageDigest+`","description":"acceptance"`),
		"another case":     edit("kmsKeyId", "kmskeyid"),
		"null":             edit(`""`, `null`),
		"a number":         edit(`""`, `1`),
		"an object":        edit(`""`, `{}`),
		"a list":           base64.StdEncoding.EncodeToString([]byte("[]")),
		"not UTF-8":        edit("acceptance", "\xff"),
		"too long":         edit("acceptance", strings.Repeat("a", message.MaxSize)),
		"a byte too long":  edit("acceptance", strings.Repeat("a", message.MaxSize+1-len(good)+len("acceptance"))),
		"far too long":     strings.Repeat("A", 1<<20),
	} {
		if m, signed, err := message.Parse(bad); !errors.Is(err, message.ErrMalformed) || len(err.Error()) > 300 {
			t.Errorf("%s: %+v, %s, %v", what, m, signed, err)
		}
	}
	if _, _, err := message.Parse(edit("acceptance", strings.Repeat("a", message.MaxSize-len(good)+len("acceptance")))); err != nil {
		t.Error("the longest:", err)
	}
	for what, m := range map[string]message.Message{"not UTF-8": {Region: "\xff"}, "too long": {Description: strings.Repeat("a", message.MaxSize)}} {
		if _, _, err := m.Build(); !errors.Is(err, message.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAlgorithms: names in any case, and ours.
func TestAlgorithms(t *testing.T) {
	if d := cmp.Diff([]string{"SHA_224_RSA_PKCS_PSS", "SHA_256_RSA_PKCS_PSS", "SHA_384_RSA_PKCS_PSS", "SHA_512_RSA_PKCS_PSS"}, message.Algorithms()); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"sha_512_rsa_pkcs_pss": "SHA_512_RSA_PKCS_PSS", "SHA_224_RSA_PKCS_PSS": "SHA_224_RSA_PKCS_PSS", "ECDSA_SHA_256": "", "": ""} {
		if got, ok := message.Algorithm(name); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", name, got, ok)
		}
	}
	for _, ours := range append([]string{""}, policy.Algorithms...) {
		want := map[string]string{"RSA_PSS_SHA_256": "SHA_256_RSA_PKCS_PSS", "RSA_PSS_SHA_384": "SHA_384_RSA_PKCS_PSS", "RSA_PSS_SHA_512": "SHA_512_RSA_PKCS_PSS"}[ours]
		if got, ok := message.AlgorithmOf(policy.Algorithm(ours)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", ours, got, ok)
		}
	}
}

// TestVerify: a signature is the key's, over the text, with the algorithm.
func TestVerify(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := publicKey(t, &key.PublicKey, policy.RSAPSSSHA256)
	text := []byte("text")
	for _, name := range message.Algorithms() {
		hash := map[string]crypto.Hash{"224": crypto.SHA224, "256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[name[4:7]]
		h := hash.New()
		h.Write(text)
		signature, err := rsa.SignPSS(rand.Reader, key, hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range message.Algorithms() {
			if err := message.Verify(public, other, text, signature); (err == nil) != (other == name) || err != nil && !errors.Is(err, kms.ErrInvalidSignature) {
				t.Errorf("%s as %s: %v", name, other, err)
			}
		}
		if err := message.Verify(public, name, []byte("other"), signature); !errors.Is(err, kms.ErrInvalidSignature) {
			t.Errorf("%s over another text: %v", name, err)
		}
		signature[0] ^= 1
		if err := message.Verify(public, name, text, signature); !errors.Is(err, kms.ErrInvalidSignature) {
			t.Errorf("%s, changed: %v", name, err)
		}
	}
	digest := sha256.Sum256(text)
	pkcs1, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := message.Verify(public, "SHA_256_RSA_PKCS_PSS", text, pkcs1); !errors.Is(err, kms.ErrInvalidSignature) {
		t.Errorf("PKCS #1: %v", err)
	}
	if err := message.Verify(public, "ECDSA_SHA_256", text, pkcs1); err == nil {
		t.Error("an unknown algorithm")
	}
	_, ec, err := kms.Generate(policy.ECDSASHA256, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := kms.ParsePublicKey(ec, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := message.Verify(other, "SHA_256_RSA_PKCS_PSS", text, pkcs1); err == nil {
		t.Error("an ECDSA key")
	}
}

func publicKey(t *testing.T, key *rsa.PublicKey, a policy.Algorithm) *kms.PublicKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kms.ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), a)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// FuzzParse: what is read can be built and read again; what is refused says nothing.
func FuzzParse(f *testing.F) {
	f.Add(uploaded)
	for _, text := range []string{"", "{}", `{"description":"\ud800"}`, `{"description":"","imageDigest":"","kmsKeyId":"","kmsKeyVersionId":"","metadata":"","region":"","repositoryName":"","signingAlgorithm":""}`} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, signed, err := message.Parse(text)
		if err != nil {
			if m != (message.Message{}) || signed != nil || !errors.Is(err, message.ErrMalformed) {
				t.Fatalf("%+v, %v", m, err)
			}
			return
		}
		if base64.StdEncoding.EncodeToString(signed) != text {
			t.Fatalf("%q is read as %q", text, signed)
		}
		_, built, err := m.Build()
		if err != nil {
			return // escapes that are longer than what was sent
		}
		if again, _, err := message.Parse(built); again != m || err != nil {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
