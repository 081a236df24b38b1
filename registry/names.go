package registry

import (
	"fmt"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The names of the distribution specification. They are what keeps a name
// from the network from being a path that leads elsewhere.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	signatureTag   = regexp.MustCompile(`^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$`)
)

const maxRepositoryName = 255

// IsSignatureTag reports whether a tag has the shape of those that carry
// signatures and the like: sha256-HEX.sig, .att and .sbom, and the fallback
// index sha256-HEX. Inventories never resolve or yield them. The matcher has
// a twin of this predicate, because neither package may import the other.
func IsSignatureTag(tag string) bool { return signatureTag.MatchString(tag) }

func checkRepository(repository string) error {
	if len(repository) > maxRepositoryName || !repositoryName.MatchString(repository) {
		return fmt.Errorf("repository name %q is not valid: %w", plain(repository), ErrCorrupt)
	}
	return nil
}

func checkTag(tag string) error {
	if !tagName.MatchString(tag) {
		return fmt.Errorf("tag %q is not valid: %w", plain(tag), ErrCorrupt)
	}
	return nil
}

// parseRef returns the digest that ref is, if it is one and no tag.
func parseRef(ref string) (digest v1.Hash, isDigest bool, err error) {
	if strings.Contains(ref, ":") {
		digest, err = v1.NewHash(ref)
		if err != nil {
			return digest, true, fmt.Errorf("digest %q is not valid: %w", plain(ref), ErrCorrupt)
		}
		return digest, true, nil
	}
	return digest, false, checkTag(ref)
}

// refName is how errors name a manifest.
func refName(host, repository, ref string) string {
	separator := ":"
	if strings.Contains(ref, ":") {
		separator = "@"
	}
	return host + "/" + plain(repository) + separator + plain(ref)
}
