package signature

import (
	"bytes"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// Payload returns the bytes that are signed for s in cosign's simple signing
// format: those that cosign itself would write. The same subject always gives
// the same bytes, so the payload's digest tells whether it is ours.
func Payload(s Subject) []byte {
	return encode(payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: s.Identity},
		Image:    payload.Image{DockerManifestDigest: s.Digest.String()},
		Type:     payload.CosignSignatureType,
	}})
}

// A claim is what a payload says.
type claim struct {
	digest   v1.Hash
	identity string
}

// parsePayload reads a simple signing payload. It is strict: what a key signed
// in another format, or what another verifier could read differently, is no
// claim.
func parsePayload(raw []byte) (claim, error) {
	top, err := parseObject(raw)
	if err != nil {
		return claim{}, fmt.Errorf("payload: %w", err)
	}
	if extra := top.without("critical").without("optional"); len(extra) > 0 {
		return claim{}, fmt.Errorf("payload: unknown member %.40q", extra[0].Name)
	}
	if o := top.value("optional"); len(o) > 0 && o[0] != '{' && !bytes.Equal(o, []byte("null")) {
		return claim{}, errors.New("payload: optional is neither null nor an object")
	}
	critical, err := exactly(top.value("critical"), "identity", "image", "type")
	if err != nil {
		return claim{}, fmt.Errorf("payload: critical: %w", err)
	}
	kind, err := critical.text("type")
	if err != nil || kind != payload.CosignSignatureType {
		return claim{}, fmt.Errorf("payload: type is %.60s, not %q", critical.value("type"), payload.CosignSignatureType)
	}
	return critical.claim()
}

// claim reads the members of a payload's critical part that say what is signed.
func (o object) claim() (claim, error) {
	identity, err := exactly(o.value("identity"), "docker-reference")
	if err != nil {
		return claim{}, fmt.Errorf("payload: identity: %w", err)
	}
	var c claim
	if c.identity, err = identity.text("docker-reference"); err != nil {
		return claim{}, fmt.Errorf("payload: identity: %w", err)
	}
	image, err := exactly(o.value("image"), "docker-manifest-digest")
	if err != nil {
		return claim{}, fmt.Errorf("payload: image: %w", err)
	}
	digest, err := image.text("docker-manifest-digest")
	if err != nil {
		return claim{}, fmt.Errorf("payload: image: %w", err)
	}
	if c.digest, err = v1.NewHash(digest); err != nil {
		return claim{}, errors.New("payload: image: docker-manifest-digest is no digest")
	}
	return c, nil
}

// exactly parses an object that has these members and no other.
func exactly(raw []byte, names ...string) (object, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	rest := o
	for _, name := range names {
		if o.value(name) == nil {
			return nil, fmt.Errorf("member %q is missing", name)
		}
		rest = rest.without(name)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("unknown member %.40q", rest[0].Name)
	}
	return o, nil
}
