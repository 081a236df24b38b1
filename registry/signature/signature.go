// Package signature is how a signature is laid out in a registry, read and
// verified. A signature counts only if the asked-for key verifies it over the
// asked-for digest and identity; that something is there proves nothing.
package signature

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Subject is what a signature speaks of.
type Subject struct {
	Repository string  // full name, without the host: where the signature is stored
	Digest     v1.Hash // of the signed manifest
	MediaType  string  // of the signed manifest; Notary Project signatures say it
	Size       int64   // of the signed manifest, in bytes; likewise
	// Identity is the repository's public name, host/namespace/repository,
	// that is written into the signature; never a tag.
	Identity string
	// Elsewhere is the repository of the same registry where signatures of the
	// cosign format go if their tag cannot be changed in Repository. Empty:
	// nowhere.
	Elsewhere string
}

// A Verifier is the public half of a key. kms.PublicKey is one.
type Verifier interface {
	// Verify returns nil if signature is the key's over message.
	Verify(message, signature []byte) error
}
