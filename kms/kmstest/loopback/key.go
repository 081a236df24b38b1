package loopback

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that signatures are over
	_ "crypto/sha512"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

// Keys makes the private keys of one server. RSA keys are slow to make: they are
// made once for all servers, but one server never has the same twice. The zero
// value is ready.
type Keys struct {
	mu   sync.Mutex
	used map[int]int
}

// New makes a key. kind is P-256, P-384, P-521, SM2, or RSA- with the size in
// bits.
func (k *Keys) New(tb testing.TB, kind string) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "P-256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "SM2":
		key, err = sm2.GenerateKey(rand.Reader)
	case "RSA-2048":
		key, err = k.RSA(2048)
	case "RSA-3072":
		key, err = k.RSA(3072)
	case "RSA-4096":
		key, err = k.RSA(4096)
	default:
		err = fmt.Errorf("kind of key %q; allowed: P-256, P-384, P-521, SM2, RSA-2048, RSA-3072, RSA-4096", kind)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// RSA returns an RSA key that this server has not had.
func (k *Keys) RSA(bits int) (*rsa.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used == nil {
		k.used = map[int]int{}
	}
	k.used[bits]++
	return pool.key(bits, k.used[bits]-1)
}

// pool has the RSA keys of a process.
var pool rsaPool

type rsaPool struct {
	mu   sync.Mutex
	keys map[int][]*rsa.PrivateKey // by size
}

func (p *rsaPool) key(bits, n int) (*rsa.PrivateKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[int][]*rsa.PrivateKey{}
	}
	for len(p.keys[bits]) <= n {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		p.keys[bits] = append(p.keys[bits], key)
	}
	return p.keys[bits][n], nil
}

// An Algorithm is how a digest is signed.
type Algorithm struct {
	Hash crypto.Hash // 0 is SM3, whose digest is signed as it is
	PSS  bool        // of RSA; the salt is as long as the digest
}

// Size is how long a digest is, in bytes.
func (a Algorithm) Size() int {
	if a.Hash == 0 {
		return 32
	}
	return a.Hash.Size()
}

// Digest is what of a message is signed; not for SM2.
func (a Algorithm) Digest(message []byte) []byte {
	h := a.Hash.New()
	h.Write(message)
	return h.Sum(nil)
}

// Sign signs a digest.
func (a Algorithm) Sign(key crypto.Signer, digest []byte) ([]byte, error) {
	if len(digest) != a.Size() {
		return nil, fmt.Errorf("digest of %d bytes; allowed: %d", len(digest), a.Size())
	}
	switch {
	case a.Hash == 0:
		return key.Sign(rand.Reader, digest, nil)
	case a.PSS:
		return key.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.Hash})
	}
	return key.Sign(rand.Reader, digest, a.Hash)
}

// HashOf is the hash whose size in bits a name ends with; 0 if there is none.
func HashOf(name string) crypto.Hash {
	for suffix, hash := range map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512} {
		if strings.HasSuffix(name, suffix) {
			return hash
		}
	}
	return 0
}

// PublicPEM is a key's public half as an SPKI in PEM.
func PublicPEM(key crypto.Signer) ([]byte, error) {
	der, err := smx509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ID returns random hex digits of so many bytes.
func ID(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// UUID returns a random id of the usual form.
func UUID() string {
	h := ID(16)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
