package door

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// minRSABits is how large an OCI key must be, as OCI has it.
const minRSABits = 2048

// A keyring is what proves who a caller is. It does not change.
type keyring struct {
	byAccessKey   map[string]*holder
	byKeyID       map[string]*holder
	tokens        []*holder
	byCertificate map[[32]byte]*holder
	// stranger has a secret that nobody knows. Unknown access keys are verified with
	// it.
	stranger *holder
	// publics holds a key of each size in bytes. Unknown key ids are verified with it.
	publics map[int]*rsa.PublicKey
}

// A proofScheme is what a request is signed by.
type proofScheme int

const (
	byAccessKey proofScheme = iota
	byOCIKey
)

// has reports whether anybody can prove anything by a scheme.
func (k *keyring) has(s proofScheme) bool {
	if s == byOCIKey {
		return len(k.byKeyID) > 0
	}
	return len(k.byAccessKey) > 0
}

// A holder is a caller with one means of proof.
type holder struct {
	caller Caller
	secret []byte
	public *rsa.PublicKey
	token  [32]byte
	memory *memory
}

// callerCopy returns the caller, for somebody who may change what he gets.
func (h *holder) callerCopy() Caller {
	c := h.caller
	c.Registries, c.Namespaces, c.Keys = slices.Clone(c.Registries), slices.Clone(c.Namespaces), slices.Clone(c.Keys)
	return c
}

// newKeyring makes a keyring that remembers what the one before it did.
func newKeyring(credentials []Credential, remembered int, before *keyring) (*keyring, error) {
	k := &keyring{byAccessKey: map[string]*holder{}, byKeyID: map[string]*holder{}, publics: map[int]*rsa.PublicKey{}, byCertificate: map[[32]byte]*holder{}}
	stranger := make([]byte, 32)
	_, _ = rand.Read(stranger) // it never fails
	k.stranger = &holder{secret: stranger}
	if before == nil {
		before = &keyring{}
	}
	var faults []error
	for i, c := range credentials {
		if err := c.check(credentials[:i]); err != nil {
			faults = append(faults, fmt.Errorf("credential %q: %w", c.Name, err))
			continue
		}
		k.add(c, remembered, before)
	}
	return k, errors.Join(faults...)
}

func (k *keyring) add(c Credential, remembered int, before *keyring) {
	caller := Caller{Name: c.Name, Role: c.Role, Registries: slices.Clone(c.Registries), Namespaces: slices.Clone(c.Namespaces), Keys: slices.Clone(c.Keys)}
	if c.AccessKey != "" {
		k.byAccessKey[c.AccessKey] = &holder{caller: caller, secret: bytes.Clone(c.Secret),
			memory: before.byAccessKey[c.AccessKey].remember(remembered)}
	}
	if c.OCIKeyID != "" {
		k.byKeyID[c.OCIKeyID] = &holder{caller: caller, public: c.OCIPublicKey,
			memory: before.byKeyID[c.OCIKeyID].remember(remembered)}
		k.publics[c.OCIPublicKey.Size()] = c.OCIPublicKey
	}
	if c.CertificateSHA256 != [32]byte{} {
		k.byCertificate[c.CertificateSHA256] = &holder{caller: caller}
	}
	if c.TokenSHA256 != [32]byte{} {
		k.tokens = append(k.tokens, &holder{caller: caller, token: c.TokenSHA256})
	}
}

// remember returns the memory of a holder, or a new one if there was none.
func (h *holder) remember(limit int) *memory {
	if h == nil {
		return newMemory(limit)
	}
	return h.memory
}

// check reports what is wrong with a credential beside others. Two that share a
// secret would be one: no scheme signs the name of the key.
func (c Credential) check(others []Credential) error {
	switch {
	case c.Name == "":
		return errors.New("name is missing")
	case c.Role < Viewer || c.Role > Admin:
		return errors.New("role is none; allowed: viewer, operator, admin")
	case slices.Contains(c.Registries, ""):
		return errors.New("a registry has no name; allowed: names, or none for all")
	case slices.Contains(c.Keys, ""):
		return errors.New("a key has no name; allowed: names, or none")
	case slices.Contains(c.Namespaces, ""):
		return errors.New("a namespace has no name; allowed: names, or none for all")
	case (c.AccessKey == "") != (len(c.Secret) == 0):
		return errors.New("an access key and its secret go together, one is missing")
	case strings.ContainsFunc(c.AccessKey, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/,;="`, r) }):
		return errors.New(`the access key has characters that cannot be sent; allowed: visible ASCII without / , ; = "`)
	case (c.OCIKeyID == "") != (c.OCIPublicKey == nil):
		return errors.New("an OCI key id and its public key go together, one is missing")
	case strings.ContainsFunc(c.OCIKeyID, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,"\`, r) }):
		return errors.New(`the OCI key id has characters that cannot be sent; allowed: visible ASCII without , " \`)
	case c.OCIPublicKey != nil && (c.OCIPublicKey.N == nil || c.OCIPublicKey.N.BitLen() < minRSABits):
		return fmt.Errorf("the OCI public key is too small; allowed: RSA of %d bits or more", minRSABits)
	case c.AccessKey == "" && c.OCIKeyID == "" && c.CertificateSHA256 == [32]byte{} && c.TokenSHA256 == [32]byte{}:
		return errors.New("nothing proves who it is; allowed: an access key, an OCI key, a client certificate, a token")
	}
	for _, o := range others {
		if what := c.shares(o); what != "" {
			return fmt.Errorf("credential %q has the same %s", o.Name, what)
		}
	}
	return nil
}

func (c Credential) shares(o Credential) string {
	switch {
	case c.Name == o.Name:
		return "name"
	case c.AccessKey != "" && c.AccessKey == o.AccessKey:
		return "access key"
	case len(c.Secret) > 0 && bytes.Equal(c.Secret, o.Secret):
		return "secret"
	case c.OCIKeyID != "" && c.OCIKeyID == o.OCIKeyID:
		return "OCI key id"
	case c.OCIPublicKey != nil && o.OCIPublicKey != nil && c.OCIPublicKey.Equal(o.OCIPublicKey):
		return "OCI public key"
	case c.CertificateSHA256 != [32]byte{} && c.CertificateSHA256 == o.CertificateSHA256:
		return "client certificate"
	case c.TokenSHA256 != [32]byte{} && c.TokenSHA256 == o.TokenSHA256:
		return "token"
	}
	return ""
}

// verifyHMAC returns who has the access key, if sign makes the signature with the
// secret. An unknown key costs the same.
func (k *keyring) verifyHMAC(accessKey string, signature []byte, sign func(secret []byte) []byte) (*holder, error) {
	h, known := k.byAccessKey[accessKey]
	if !known {
		h = k.stranger
	}
	right := hmac.Equal(signature, sign(h.secret))
	return h.judge(known, right)
}

// verifyRSA returns who has the key id, if its key made the signature. What it costs
// depends on the signature's size alone, which the caller chooses: a key of that size
// verifies it, if there is one, even if it is not the one that is asked for.
func (k *keyring) verifyRSA(keyID string, signature []byte, digest [sha256.Size]byte) (*holder, error) {
	h, known := k.byKeyID[keyID]
	public := k.publics[len(signature)]
	own := known && h.public.Size() == len(signature)
	if own {
		public = h.public
	}
	right := public != nil && rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	return h.judge(known, right && own)
}

func (h *holder) judge(known, right bool) (*holder, error) {
	if !known {
		return nil, ErrUnknown
	}
	if !right {
		return nil, ErrSignature
	}
	return h, nil
}

// byToken returns who has a token. All are compared, so that time tells nothing.
func (k *keyring) byToken(token string) (*holder, error) {
	sum := sha256.Sum256([]byte(token))
	var found *holder
	for _, h := range k.tokens {
		if subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1 {
			found = h
		}
	}
	if found == nil {
		return nil, ErrUnknown
	}
	return found, nil
}
