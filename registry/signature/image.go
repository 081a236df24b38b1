package signature

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	tspclient "github.com/notaryproject/tspclient-go"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// A Key is a key as formats use it.
type Key struct {
	// Verifier is its public half. Required.
	Verifier
	// Algorithm is how it signs. Required for all formats but cosign.
	Algorithm policy.Algorithm
	// PublicKey is its DER SubjectPublicKeyInfo, of which bundles carry a hint.
	PublicKey []byte
	// Certificates is the chain of its certificate, leaf first, without which
	// Notary Project signatures cannot be made.
	Certificates []*x509.Certificate
	// Sign returns the signature over a message: the message itself, not a
	// digest of it. Nil for a key that only verifies.
	Sign func(ctx context.Context, message []byte) ([]byte, error)
}

// Witnesses attest when a signature was made. The zero value is none.
type Witnesses struct {
	// Timestamps are RFC 3161 authorities, asked in this order until one
	// answers. Notary Project signatures and bundles carry what it said.
	Timestamps []Authority
	// Log is a transparency log that bundles are entered in. Nil: none.
	Log Log
	// ID names what they are judged by, what was in files included. What was
	// verified under one is not taken for verified under another. Empty: nothing.
	ID string
}

// An Authority is a timestamp authority and the certificates by which its
// answers are judged.
type Authority struct {
	tspclient.Timestamper
	Roots *x509.CertPool
	Name  string // for messages
}

// A Log is a transparency log. Rekor is one. Both methods are safe for
// concurrent use. Public keys are DER SubjectPublicKeyInfos.
type Log interface {
	// Enter enters a signed statement, a DSSE envelope in JSON, and returns the
	// entry as bundles have it: JSON of a dev.sigstore.rekor.v1.TransparencyLogEntry.
	// It has verified that the entry proves that the signature is in the log.
	Enter(ctx context.Context, envelope []byte, publicKey []byte) ([]byte, error)
	// Holds returns nil if an entry proves that the log holds the signature over
	// the payload of an in-toto statement. It asks nobody.
	Holds(entry *protorekor.TransparencyLogEntry, payload, sig, publicKey []byte) error
}

// A Signature is one that was just made and is not stored yet.
type Signature struct {
	// Raw is what the key returned.
	Raw []byte
	// Content is what is stored: the payload, the bundle or the envelope.
	Content []byte
	// Timestamped: an authority attested it.
	Timestamped bool
}

// Layouts reads and writes signatures of every format in one registry. It is
// safe for concurrent use and must not be copied.
type Layouts struct {
	cosign    *Cosign
	referrers *registry.Referrers
	store     registry.Store
	immutable recent // tags of the cosign format that the registry would not change
}

// NewLayouts returns the layouts for the registry behind store.
func NewLayouts(store registry.Store) *Layouts {
	return &Layouts{cosign: &Cosign{Store: store}, referrers: registry.NewReferrers(store), store: store}
}

// Image returns the signatures of s, as they are from now on. What it reads, it
// reads once: an Image serves one look, the signing that follows from it, and
// no other.
func (l *Layouts) Image(s Subject, w Witnesses) *Image {
	return &Image{Subject: s, Witnesses: w, layouts: l}
}

// An Image is one manifest with its signatures in all formats.
type Image struct {
	Subject
	Witnesses
	layouts *Layouts

	once      sync.Once
	referrers []registry.Referrer
	err       error
}

// WritesFallback reports whether a new referrer in the repository will also
// have to be entered in a fallback index, as far as that is known without doubt.
func (l *Layouts) WritesFallback(ctx context.Context, repository string) bool {
	c, err := l.referrers.Capability(ctx, repository)
	return err == nil && !c.API
}

// A layout is one format. All methods are safe for concurrent use.
type layout interface {
	// look finds out whether k has signed the image.
	look(ctx context.Context, i *Image, k Key) (Look, error)
	// sign makes a signature, with one use of the key.
	sign(ctx context.Context, i *Image, k Key) (Signature, error)
	// attach stores a signature, reads it back and verifies it.
	attach(ctx context.Context, i *Image, base Look, sig Signature, k Key) (Attached, error)
	// check returns every signature over the image's digest that one of keys
	// accepts, whatever its identity.
	check(ctx context.Context, i *Image, keys []Key) ([]Verified, error)
	// remove removes the signatures by k that count for the image, as far as c
	// says, and returns how many; see Remove.
	remove(ctx context.Context, i *Image, k Key, c cut) (int, error)
}

func (l *Layouts) layout(f policy.Format) (layout, error) {
	switch f {
	case policy.FormatCosign:
		return cosignLayout{l.cosign, &l.immutable}, nil
	case policy.FormatBundle:
		return bundleLayout{l}, nil
	case policy.FormatNotationJWS, policy.FormatNotationCOSE:
		return notationLayout{l, f}, nil
	}
	return nil, fmt.Errorf("%w: format %q", registry.ErrUnsupported, f)
}

// Look finds out whether k has signed the image in format f. The referrers are
// asked for once, however many formats look at them. Signatures that are
// malformed or by others do not count and are no error.
func (i *Image) Look(ctx context.Context, f policy.Format, k Key) (Look, error) {
	l, err := i.layouts.layout(f)
	if err != nil {
		return Look{}, err
	}
	return l.look(ctx, i, k)
}

// Sign makes a signature in format f with one use of k, and has it witnessed.
func (i *Image) Sign(ctx context.Context, f policy.Format, k Key) (Signature, error) {
	l, err := i.layouts.layout(f)
	if err != nil {
		return Signature{}, err
	}
	return l.sign(ctx, i, k)
}

// Attach stores sig, which Sign returned. base is what Look found. It returns
// after reading back and verifying what was stored.
func (i *Image) Attach(ctx context.Context, f policy.Format, base Look, sig Signature, k Key) (Attached, error) {
	l, err := i.layouts.layout(f)
	if err != nil {
		return Attached{}, err
	}
	return l.attach(ctx, i, base, sig, k)
}

// Check returns the signatures over the image's digest that one of keys
// accepts, in all formats and whatever their identity. A format that cannot be
// read is an error, beside what was found in the others.
func (i *Image) Check(ctx context.Context, keys []Key) ([]Verified, error) {
	var all []Verified
	var errs []error
	for _, f := range []policy.Format{policy.FormatCosign, policy.FormatBundle, policy.FormatNotationJWS, policy.FormatNotationCOSE} {
		l, err := i.layouts.layout(f)
		if err != nil {
			return nil, err
		}
		found, err := l.check(ctx, i, keys)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s signatures: %w", f, err))
		}
		for n := range found {
			found[n].Format = f
		}
		all = append(all, found...)
	}
	return all, errors.Join(errs...)
}

// signatures returns the image's referrers that are signatures of a format that
// we know, asking for them the first time.
func (i *Image) signatures(ctx context.Context) ([]registry.Referrer, error) {
	i.once.Do(func() {
		i.referrers, i.err = i.layouts.referrers.List(ctx, i.Repository, i.Digest, isSignatureType)
	})
	return i.referrers, i.err
}

// isSignatureType reports whether referrers of an artifact type are signatures
// of a format that we know.
func isSignatureType(t string) bool { return t == bundleType || t == notationType }

const (
	bundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	notationType = "application/vnd.cncf.notary.signature"
)
