package signature

import (
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// notationPayloadType is the media type of what is signed.
	notationPayloadType = "application/vnd.cncf.notary.payload.v1+json"
	// annotationIdentity is where the signed payload says what the repository
	// is called. Notation reserves names that begin with io.cncf.notary.
	annotationIdentity = "io.github.sealwright.identity"
)

// A target is what a Notary Project signature says it signs.
type target struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// notationPayload returns the bytes that are signed for s.
func notationPayload(s Subject) []byte {
	return encode(struct {
		Target target `json:"targetArtifact"`
	}{target{
		MediaType:   s.MediaType,
		Digest:      s.Digest.String(),
		Size:        s.Size,
		Annotations: map[string]string{annotationIdentity: s.Identity},
	}})
}

// A notationClaim is what a payload says.
type notationClaim struct {
	digest    v1.Hash
	mediaType string
	size      int64
	identity  string // empty: it says none
}

// parseNotationPayload reads a payload. It is strict: what other verifiers could
// read differently is no claim.
func parseNotationPayload(raw []byte) (notationClaim, error) {
	top, err := exactly(raw, "targetArtifact")
	if err != nil {
		return notationClaim{}, fmt.Errorf("payload: %w", err)
	}
	o, err := parseObject(top.value("targetArtifact"))
	if err != nil {
		return notationClaim{}, fmt.Errorf("payload: targetArtifact: %w", err)
	}
	c, err := o.target()
	if err != nil {
		return notationClaim{}, fmt.Errorf("payload: targetArtifact: %w", err)
	}
	return c, nil
}

// target reads a descriptor with the members that payloads have, and no other.
func (o object) target() (notationClaim, error) {
	if extra := o.without("mediaType").without("digest").without("size").without("annotations"); len(extra) > 0 {
		return notationClaim{}, fmt.Errorf("unknown member %.40q", extra[0].Name)
	}
	var c notationClaim
	var err error
	if c.mediaType, err = o.text("mediaType"); err != nil {
		return notationClaim{}, err
	}
	digest, err := o.text("digest")
	if err != nil {
		return notationClaim{}, err
	}
	if c.digest, err = v1.NewHash(digest); err != nil {
		return notationClaim{}, errors.New("digest is no digest")
	}
	if o.value("size") == nil {
		return notationClaim{}, errors.New(`member "size" is missing`)
	}
	if err := o.decode("size", &c.size); err != nil {
		return notationClaim{}, err
	}
	c.identity, err = o.identity()
	return c, err
}

// identity returns the repository's name among the annotations, all of which
// must be texts, as others read them so.
func (o object) identity() (string, error) {
	raw := o.value("annotations")
	if raw == nil {
		return "", nil
	}
	annotations, err := parseObject(raw)
	if err != nil {
		return "", fmt.Errorf("annotations: %w", err)
	}
	var identity string
	for _, a := range annotations {
		text, err := annotations.text(a.Name)
		if err != nil {
			return "", fmt.Errorf("annotations: %w", err)
		}
		if a.Name == annotationIdentity {
			identity = text
		}
	}
	return identity, nil
}

// speaksOf returns nil if the claim is about the manifest of s. Verifiers
// compare all three.
func (c notationClaim) speaksOf(s Subject) error {
	switch {
	case c.digest != s.Digest:
		return fmt.Errorf("it speaks of %s", c.digest)
	case c.mediaType != s.MediaType:
		return fmt.Errorf("it says that the manifest is of type %.80q, not %q", c.mediaType, s.MediaType)
	case c.size != s.Size:
		return fmt.Errorf("it says that the manifest has %d bytes, not %d", c.size, s.Size)
	}
	return nil
}

// calls returns nil if the claim names the repository so.
func (c notationClaim) calls(identity string) error {
	switch {
	case c.identity == "":
		return fmt.Errorf("it has no annotation %s", annotationIdentity)
	case c.identity != identity:
		return fmt.Errorf("it speaks of %.80q, not %q", c.identity, identity)
	}
	return nil
}
