package signature

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"

	"github.com/sealwright/sealwright/engine/policy"
)

const (
	// annotationThumbprints is where a signature manifest lists the SHA-256 of
	// the certificates. It is not signed, so it only says what to read first.
	annotationThumbprints = "io.cncf.notary.x509chain.thumbprint#S256"
	// annotationCreated is where a manifest says when it was made.
	annotationCreated = "org.opencontainers.image.created"
)

// notationLayout keeps Notary Project signatures: an envelope, in JWS or COSE,
// in a manifest that refers to the image, as notation writes it.
//
// Such a signature has no place of its own for the repository's name. It is
// written among the annotations of the signed payload, where notation's users
// keep what they call user metadata, so "notation verify --user-metadata" can
// ask for it, and other verifiers do not mind it.
type notationLayout struct {
	*Layouts
	format policy.Format
}

// contentType is the media type of the format's envelopes.
func (n notationLayout) contentType() string {
	if n.format == policy.FormatNotationCOSE {
		return cose.MediaTypeEnvelope
	}
	return jws.MediaTypeEnvelope
}

// kind describes the manifests that may hold a signature of k. Those that claim
// to have one of its certificates are read first.
func (n notationLayout) kind(k Key) kind {
	ours := thumbprints(k.Certificates)
	return kind{
		artifactType: notationType,
		contentType:  n.contentType(),
		rank: func(annotations map[string]string) int {
			var listed []string
			if json.Unmarshal([]byte(annotations[annotationThumbprints]), &listed) != nil || len(listed) == 0 {
				return 1
			}
			if slices.Contains(ours, listed[0]) {
				return 0
			}
			return 1
		},
	}
}

// look counts a signature only if verifiers that trust the root of the key's
// certificates accept it: anybody can put another certificate for the same key
// into an envelope, as certificates are not signed with it.
func (n notationLayout) look(ctx context.Context, i *Image, k Key) (Look, error) {
	look, err := Look{}, notationSupports(k)
	if err == nil {
		look, err = i.lookCarriers(ctx, n.kind(k), func(c *carrier) ([]byte, error) {
			return n.witnessed(ctx, c.content, i, k)
		})
	}
	if err != nil {
		return Look{}, fmt.Errorf("looking for signatures of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return look, nil
}

// witnessed returns the signature of an envelope that counts and was timestamped,
// if there are authorities, or why it is none. A valid certificate is not enough
// then: it expires.
func (n notationLayout) witnessed(ctx context.Context, content []byte, i *Image, k Key) ([]byte, error) {
	e, err := n.counts(ctx, content, i, k)
	if err != nil {
		return nil, err
	}
	if len(i.Timestamps) > 0 {
		err = e.isStamped(ctx, i.Timestamps)
	}
	return e.signature, err
}

// counts returns an envelope that is k's over the image and its identity, or why
// it is none.
func (n notationLayout) counts(ctx context.Context, content []byte, i *Image, k Key) (*envelope, error) {
	e, err := n.read(content)
	if err != nil {
		return nil, err
	}
	for _, judge := range []func() error{
		func() error { return e.isBy(k) },
		func() error { return e.sharesRoot(k.Certificates) },
		func() error { return e.claim.speaksOf(i.Subject) },
		func() error { return e.claim.calls(i.Identity) },
		func() error { return e.validAt(ctx, time.Now(), i.Timestamps) },
	} {
		if err := judge(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// check knows the certificates of none of the keys. So it believes those in
// the envelope as to how long they are valid, and whoever signed has to be
// trusted for that.
func (n notationLayout) check(ctx context.Context, i *Image, keys []Key) ([]Verified, error) {
	var found []Verified
	err := i.checkCarriers(ctx, n.kind(Key{}), func(c *carrier) {
		e, err := n.read(c.content)
		if err != nil || e.claim.speaksOf(i.Subject) != nil || e.validAt(ctx, time.Now(), i.Timestamps) != nil {
			return
		}
		for at, k := range keys {
			if e.isBy(k) == nil {
				found = append(found, Verified{Identity: e.claim.identity, Verifier: at, Signature: e.signature})
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("checking signatures of %s@%s: %w", i.Repository, i.Digest, err)
	}
	return found, nil
}

func (n notationLayout) attach(ctx context.Context, i *Image, _ Look, sig Signature, k Key) (Attached, error) {
	done, err := n.store(ctx, i, sig.Content, k)
	if err != nil {
		return Attached{}, fmt.Errorf("attaching a signature to %s@%s: %w", i.Repository, i.Digest, err)
	}
	return done, nil
}

// store writes an envelope and reads it back. Storing the same one again writes
// the same manifest.
func (n notationLayout) store(ctx context.Context, i *Image, content []byte, k Key) (Attached, error) {
	if _, err := n.witnessed(ctx, content, i, k); err != nil {
		return Attached{}, fmt.Errorf("the envelope to attach does not count: %w", err)
	}
	e, err := n.read(content)
	if err != nil {
		return Attached{}, err
	}
	back, err := i.putCarrier(ctx, carrier{
		configType:  notationType,
		contentType: n.contentType(),
		content:     content,
		annotations: e.annotations(),
	})
	if err != nil {
		return Attached{}, err
	}
	raw, err := n.witnessed(ctx, back.content, i, k)
	if err != nil {
		return Attached{}, fmt.Errorf("reading back %s: %w", back.manifest.Digest, err)
	}
	return Attached{Manifest: back.manifest.Digest, Signature: raw, Rounds: 1}, nil
}

// annotations are those of the manifest that holds the envelope.
func (e *envelope) annotations() map[string]string {
	return map[string]string{
		annotationThumbprints: string(encode(thumbprints(e.chain))),
		annotationCreated:     e.signed.UTC().Format(time.RFC3339),
	}
}
