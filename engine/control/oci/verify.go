package oci

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
)

// maxSignature is how long a signature may be: that of an RSA key of 8192 bits.
const maxSignature = 1024

// verified returns what is stored of an upload, after everything that it says was
// found to be true. What costs nothing is looked at first, the registry last.
func (h *handler) verified(ctx context.Context, c *call, registry string, u upload) (journal.ImageSignature, error) {
	i, err := h.image(ctx, c, u.ImageID)
	if errors.Is(err, journal.ErrNotFound) || err == nil && i.registry != registry {
		err = relatedNotFound("imageId", "the compartment has no such image")
	}
	if err != nil {
		return journal.ImageSignature{}, err
	}
	signed, err := checkMessage(u, i)
	if err != nil {
		return journal.ImageSignature{}, err
	}
	if err := h.checkSignature(c, u, signed); err != nil {
		return journal.ImageSignature{}, err
	}
	if _, err := h.resolve(ctx, i.registry, i.repository, i.digest); err != nil {
		return journal.ImageSignature{}, registryFault(err, relatedNotFound("imageId", "the compartment has no such image"))
	}
	id := newSignatureID()
	return journal.ImageSignature{ID: id, Registry: i.registry, Repository: i.repository, Digest: i.digest,
		CompartmentID: u.CompartmentID, ImageID: u.ImageID, KeyID: u.KMSKeyID, KeyVersionID: u.KMSKeyVersionID, Algorithm: u.SigningAlgorithm,
		Message: u.Message, Signature: u.Signature, DisplayName: displayName(u.KMSKeyID, u.KMSKeyVersionID, u.SigningAlgorithm, id), Creator: c.user,
		FreeformTags: u.FreeformTags, DefinedTags: u.DefinedTags, ETag: newETag()}, nil
}

// checkMessage returns what is signed, if it is about the image and as the upload says.
func checkMessage(u upload, i image) ([]byte, error) {
	m, signed, err := message.Parse(u.Message)
	if err != nil {
		return nil, invalid("message", "%v", err)
	}
	algorithm, _ := message.Algorithm(m.SigningAlgorithm)
	for _, f := range []struct{ name, got, want string }{
		{"imageDigest", m.ImageDigest, i.digest},
		{"repositoryName", m.RepositoryName, i.repository},
		{"kmsKeyId", m.KMSKeyID, u.KMSKeyID},
		{"kmsKeyVersionId", m.KMSKeyVersionID, u.KMSKeyVersionID},
		{"signingAlgorithm", algorithm, u.SigningAlgorithm},
	} {
		if f.got != f.want {
			return nil, invalid("message", "its %s is not that of the image or the request; allowed: %s", f.name, f.want)
		}
	}
	return signed, nil
}

func (h *handler) checkSignature(c *call, u upload, signed []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(u.Signature)
	if err != nil || strings.ContainsAny(u.Signature, "\r\n") || len(raw) == 0 || len(raw) > maxSignature {
		return invalid("signature", "it is not standard base64 with padding of 1 to %d bytes", maxSignature)
	}
	public, err := h.publicKey(c, u.KMSKeyID, u.KMSKeyVersionID)
	if err != nil {
		return err
	}
	if err := message.Verify(public, u.SigningAlgorithm, signed, raw); err != nil {
		return invalid("signature", "it is not of the message by kmsKeyId, kmsKeyVersionId and signingAlgorithm: %v", err)
	}
	return nil
}

// publicKey returns the public key of a version. The version that a key of ours signs
// with goes by the key store's name of it, and by its fingerprint: keys in files have
// no versions. A key of ours that the caller may not use is not there.
func (h *handler) publicKey(c *call, keyID, versionID string) (*kms.PublicKey, error) {
	ours, known := h.Engine.KeyNamed(keyID)
	known = known && c.caller.Uses(ours.Name)
	if known && ours.Public != nil && (versionID == ours.Version || versionID == ours.Fingerprint) {
		return ours.Public, nil
	}
	if h.Keys != nil {
		public, err := h.Keys.PublicKey(keyID, versionID)
		if err == nil || !errors.Is(err, ErrNoKey) {
			return public, err
		}
	}
	if known && ours.Public == nil {
		return nil, unavailable("kmsKeyId: the key cannot be reached at present; try again later.")
	}
	return nil, relatedNotFound("kmsKeyId, kmsKeyVersionId", "no such version of a key is known here")
}
