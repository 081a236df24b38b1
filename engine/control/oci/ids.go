package oci

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strings"
)

// Ids look like Oracle's, without a region.
//
// That of a repository is a hash of the registry's and its own name, so that it is the
// same on every replica and after the journal was lost; the journal says what it is a
// hash of. That of an image is the same hash, and the image's digest.
const (
	repositoryPrefix = "ocid1.containerrepo.oc1.."
	imagePrefix      = "ocid1.containerimage.oc1.."
	signaturePrefix  = "ocid1.containerimagesignature.oc1.."

	hashBytes = 20
	hashChars = hashBytes * 8 / 5
)

var (
	base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	digestRE    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func repositoryID(registry, repository string) string {
	sum := sha256.Sum256([]byte(registry + "\x00" + repository))
	return repositoryPrefix + base32Lower.EncodeToString(sum[:hashBytes])
}

// imageID returns the id of an image; false if its digest is no SHA-256.
func imageID(registry, repository, digest string) (string, bool) {
	if !digestRE.MatchString(digest) {
		return "", false
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
	if err != nil {
		return "", false
	}
	return imagePrefix + strings.TrimPrefix(repositoryID(registry, repository), repositoryPrefix) + base32Lower.EncodeToString(raw), true
}

// parseImageID returns the repository's id and the digest of an image's id.
func parseImageID(id string) (repository, digest string, ok bool) {
	unique, ok := strings.CutPrefix(id, imagePrefix)
	if !ok || len(unique) != hashChars+base32Lower.EncodedLen(sha256.Size) {
		return "", "", false
	}
	raw, err := base32Lower.DecodeString(unique[hashChars:])
	if err != nil || base32Lower.EncodeToString(raw) != unique[hashChars:] { // an image has one id
		return "", "", false
	}
	return repositoryPrefix + unique[:hashChars], "sha256:" + hex.EncodeToString(raw), true
}

func newSignatureID() string { return signaturePrefix + randomText(32) }

func newETag() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // it never fails
	return hex.EncodeToString(raw)
}

func randomText(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // it never fails
	return base32Lower.EncodeToString(raw)
}

// displayName is how Oracle calls a signature.
func displayName(keyID, keyVersionID, algorithm, id string) string {
	return strings.Join([]string{lastTen(keyID), lastTen(keyVersionID), algorithm, lastTen(id)}, "::")
}

func lastTen(s string) string {
	r := []rune(s)
	return string(r[max(0, len(r)-10):])
}
