package door

import (
	"crypto/rsa"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Role is what a caller may do. Each includes those below it; the zero Role may do
// nothing.
type Role int

// The roles, from least to most.
const (
	Viewer Role = iota + 1
	Operator
	Admin
)

// String returns the role as the configuration says it.
func (r Role) String() string {
	switch r {
	case Viewer:
		return "viewer"
	case Operator:
		return "operator"
	case Admin:
		return "admin"
	}
	return "none"
}

// A Credential is one caller, and how it proves who it is: an access key with its
// secret, an OCI key, a client certificate, a token, or several of them. It does not print its secret.
type Credential struct {
	// Name is what logs and records call the caller. It is required and unique.
	Name string
	// Role is required.
	Role Role
	// Registries are those that the caller sees. Empty: all.
	Registries []string
	// Namespaces are those that the caller sees in these registries, with what is
	// below them. Empty: all.
	Namespaces []string

	// Keys are the names of the signing keys that its policies may use. Empty: all, for
	// who sees all registries and namespaces, and none for others.
	Keys []string

	// AccessKey and Secret are for TC3 and SDKHMAC.
	AccessKey string
	Secret    []byte
	// OCIKeyID is <tenancy>/<user>/<fingerprint>. The key has at least 2048 bits.
	OCIKeyID     string
	OCIPublicKey *rsa.PublicKey
	// CertificateSHA256 is the hash of the DER of a TLS client certificate. Zero: none.
	CertificateSHA256 [32]byte
	// TokenSHA256 is the hash of a token that cannot be guessed. Zero: no token.
	TokenSHA256 [32]byte
}

// String returns who it is, without what proves it.
func (c Credential) String() string {
	return fmt.Sprintf("credential %q (%s)", c.Name, c.Role)
}

// Format writes String for every verb, so that no verb shows the secret.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText returns String, for JSON and YAML too.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A Caller is who sent a request. The zero Caller is nobody and sees nothing.
type Caller struct {
	Name       string
	Role       Role
	Registries []string
	Namespaces []string
	Keys       []string

	forget func() // the request that it sent
}

// Sight is the same for callers who see the same and may do the same. Of those who do not
// see everything, each has its own.
func (c Caller) Sight() string {
	name := c.Name
	if c.SeesAll() {
		name = ""
	}
	return fmt.Sprintf("%d %q %q %q %q", c.Role, name, c.Registries, c.Namespaces, c.Keys)
}

// Forget lets the caller send its request again as it is, once: nothing of what it asks
// for was begun. Otherwise it would be told that it was received before.
func (c Caller) Forget() {
	if c.forget != nil {
		c.forget()
	}
}

// Uses reports whether the caller's policies may sign with the key of that name.
func (c Caller) Uses(key string) bool {
	return len(c.Keys) == 0 && c.SeesAll() || slices.Contains(c.Keys, key)
}

// Sees reports whether the caller may see a registry.
func (c Caller) Sees(registry string) bool {
	return c.Role >= Viewer && (len(c.Registries) == 0 || slices.Contains(c.Registries, registry))
}

// SeesNamespace reports whether the caller may see a namespace, or a repository, of
// a registry. An empty one is the whole registry.
func (c Caller) SeesNamespace(registry, namespace string) bool {
	return c.Sees(registry) && (len(c.Namespaces) == 0 || slices.ContainsFunc(c.Namespaces, func(n string) bool {
		return namespace == n || strings.HasPrefix(namespace, n+"/")
	}))
}

// SeesAll reports whether the caller may see all registries as a whole.
func (c Caller) SeesAll() bool {
	return c.Role >= Viewer && len(c.Registries) == 0 && len(c.Namespaces) == 0
}
