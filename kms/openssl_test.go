package kms_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// openssl runs OpenSSL, the other implementation that these tests trust, and
// returns what it printed.
func openssl(t *testing.T, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("these tests need OpenSSL 3: apt-get install openssl")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(err, errors.New(stdout.String()+stderr.String()))
	}
	return stdout.Bytes(), nil
}

func mustOpenSSL(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	out, err := openssl(t, stdin, args...)
	if err != nil {
		t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// opensslVerify has OpenSSL verify a signature, as a user of ours would.
func opensslVerify(t *testing.T, public *kms.PublicKey, message, signature []byte) error {
	t.Helper()
	dir := t.TempDir()
	in := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pub, msg, sig := in("pub.pem", public.PEM()), in("message", message), in("signature", signature)
	alg := public.Algorithm()
	if alg.Family() == policy.SM2 {
		_, err := openssl(t, nil, "pkeyutl", "-verify", "-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678",
			"-pubin", "-inkey", pub, "-in", msg, "-sigfile", sig)
		return err
	}
	args := []string{"dgst", "-" + strings.ToLower(strings.ReplaceAll(alg.Hash().String(), "-", "")), "-verify", pub, "-signature", sig}
	if alg.Family() == policy.RSAPSS {
		args = append(args, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
	}
	_, err := openssl(t, nil, append(args, msg)...)
	return err
}

func TestOpenSSLVerifiesOurSignatures(t *testing.T) {
	for _, k := range oneEach() {
		t.Run(k.String(), func(t *testing.T) {
			s := open(t, newKey(t, k), k.alg)
			for _, message := range [][]byte{[]byte("message"), bytes.Repeat([]byte("x"), 1<<20)} {
				signature := sign(t, s, message)
				if err := opensslVerify(t, s.Public(), message, signature); err != nil {
					t.Errorf("OpenSSL refuses our signature: %v", err)
				}
				if err := opensslVerify(t, s.Public(), append(message, 'y'), signature); err == nil {
					t.Error("OpenSSL accepts our signature of another message")
				}
			}
		})
	}
}

func TestWeVerifyOpenSSLsSignatures(t *testing.T) {
	for _, k := range oneEach() {
		t.Run(k.String(), func(t *testing.T) {
			key := newKey(t, k)
			path, message := writeFile(t, key), []byte("message")
			var signature []byte
			if k.alg.Family() == policy.SM2 {
				in := filepath.Join(t.TempDir(), "message") // pkeyutl wants a file
				if err := os.WriteFile(in, message, 0o600); err != nil {
					t.Fatal(err)
				}
				signature = mustOpenSSL(t, nil, "pkeyutl", "-sign", "-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678", "-inkey", path, "-in", in)
			} else {
				args := []string{"dgst", "-" + strings.ToLower(strings.ReplaceAll(k.alg.Hash().String(), "-", "")), "-sign", path}
				if k.alg.Family() == policy.RSAPSS {
					args = append(args, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max")
				}
				signature = mustOpenSSL(t, message, args...)
			}
			public := open(t, key, k.alg).Public()
			if err := public.Verify(message, signature); err != nil {
				t.Error(err)
			}
			if err := public.Verify([]byte("other"), signature); !errors.Is(err, kms.ErrInvalidSignature) {
				t.Errorf("another message: got %v, want ErrInvalidSignature", err)
			}
		})
	}
}

// Every way that OpenSSL writes a private key.
func TestKeysOfOpenSSL(t *testing.T) {
	pass := "pass:" + testPassword
	kinds := []struct {
		name        string
		alg         policy.Algorithm
		generate    []string
		traditional []string // writes the form older than PKCS#8
	}{
		{"P-256", policy.ECDSASHA256, []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"ec"}},
		{"P-384", policy.ECDSASHA384, []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, []string{"ec"}},
		{"SM2", policy.SM2SM3, []string{"genpkey", "-algorithm", "SM2"}, []string{"ec"}},
		{"RSA", policy.RSAPKCS1SHA256, []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, []string{"rsa", "-traditional"}},
	}
	writes := []struct {
		name string
		args []string // what turns PKCS#8 into it
	}{
		{"PKCS#8", []string{"pkey"}},
		{"traditional", nil},
		{"encrypted", []string{"pkcs8", "-topk8", "-passout", pass}},
		{"AES-128 SHA-1", []string{"pkcs8", "-topk8", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1", "-passout", pass}},
		{"AES-192 SHA-512", []string{"pkcs8", "-topk8", "-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000", "-passout", pass}},
		{"AES-256 SHA-384", []string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384", "-passout", pass}},
		{"AES-256 SHA-224", []string{"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA224", "-passout", pass}},
		{"scrypt", []string{"pkcs8", "-topk8", "-scrypt", "-passout", pass}},
		{"triple DES", []string{"pkcs8", "-topk8", "-v2", "des3", "-passout", pass}},
		{"SM4", []string{"pkcs8", "-topk8", "-v2", "sm4-cbc", "-passout", pass}},
	}
	for _, k := range kinds {
		pkcs8 := mustOpenSSL(t, nil, k.generate...)
		public := mustOpenSSL(t, pkcs8, "pkey", "-pubout")
		for _, w := range writes {
			t.Run(k.name+"/"+w.name, func(t *testing.T) {
				args := w.args
				if args == nil {
					args = k.traditional
				}
				key := mustOpenSSL(t, pkcs8, args...)
				s := openConfig(t, kms.Config{URI: "file:" + writeFile(t, key), Algorithm: k.alg, Password: password})
				if diff := cmp.Diff(string(public), string(s.Public().PEM())); diff != "" {
					t.Error(diff)
				}
				sign(t, s, []byte("message"))
			})
		}
	}
}

func TestOpenSSLKeysThatWeDoNotRead(t *testing.T) {
	pass := "pass:" + testPassword
	key := newKey(t, algKey{alg: policy.ECDSASHA256})
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"PBES1":          {[]string{"pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-passout", pass}, "wrong password or damaged key"},
		"old encryption": {[]string{"ec", "-aes256", "-passout", pass}, "openssl pkcs8 -topk8"},
	} {
		t.Run(name, func(t *testing.T) {
			data := mustOpenSSL(t, key, tt.args...)
			_, err := kms.Open(t.Context(), kms.Config{URI: "file:" + writeFile(t, data), Password: password})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
