package kms_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// An algKey is one algorithm with one size of key.
type algKey struct {
	alg  policy.Algorithm
	bits int // RSA only
}

func (k algKey) String() string {
	if k.bits == 0 {
		return string(k.alg)
	}
	return fmt.Sprintf("%s/%d", k.alg, k.bits)
}

func isRSA(alg policy.Algorithm) bool {
	return alg.Family() == policy.RSAPSS || alg.Family() == policy.RSAPKCS1
}

// algKeys lists every algorithm, the RSA ones with every size that Generate
// makes.
func algKeys() []algKey {
	var all []algKey
	for _, name := range policy.Algorithms {
		alg := policy.Algorithm(name)
		if !isRSA(alg) {
			all = append(all, algKey{alg, 0})
			continue
		}
		for _, bits := range []int{2048, 3072, 4096} {
			all = append(all, algKey{alg, bits})
		}
	}
	return all
}

// oneEach lists every algorithm once, RSA with 2048 bits.
func oneEach() []algKey {
	var all []algKey
	for _, k := range algKeys() {
		if k.bits == 0 || k.bits == 2048 {
			all = append(all, k)
		}
	}
	return all
}

var (
	rsa2048 = sync.OnceValues(func() ([]byte, error) { return private(policy.RSAPSSSHA256, 2048) })
	rsa3072 = sync.OnceValues(func() ([]byte, error) { return private(policy.RSAPSSSHA384, 3072) })
	rsa4096 = sync.OnceValues(func() ([]byte, error) { return private(policy.RSAPSSSHA512, 4096) })
)

func private(alg policy.Algorithm, bits int) ([]byte, error) {
	key, _, err := kms.Generate(alg, bits)
	return key, err
}

// newKey returns a private key for k in PEM form. RSA keys are slow to make, so
// tests share one of each size.
func newKey(t testing.TB, k algKey) []byte {
	t.Helper()
	var key []byte
	var err error
	switch k.bits {
	case 2048:
		key, err = rsa2048()
	case 3072:
		key, err = rsa3072()
	case 4096:
		key, err = rsa4096()
	default:
		key, err = private(k.alg, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// writeFile writes data to a new file that only its owner can read.
func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.key")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a private key in PEM form as the file that a user would have.
func open(t testing.TB, key []byte, alg policy.Algorithm) kms.Signer {
	t.Helper()
	return openConfig(t, kms.Config{URI: "file:" + writeFile(t, key), Algorithm: alg})
}

func openConfig(t testing.TB, cfg kms.Config) kms.Signer {
	t.Helper()
	s, err := kms.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func sign(t testing.TB, s kms.Signer, message []byte) []byte {
	t.Helper()
	signature, err := s.Sign(context.Background(), message)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// rewrite puts other data into a file.
func rewrite(t testing.TB, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
