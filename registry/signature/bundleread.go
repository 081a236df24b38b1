package signature

import (
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	// maxBundle bounds a bundle that is read, in bytes. Ours have about 900, and
	// 10,000 with a timestamp and a log entry.
	maxBundle = 128 << 10
	// maxWitnesses bounds the log entries and timestamps of a bundle, as
	// verifiers do.
	maxWitnesses = 32
)

// A bundle is what one says.
type bundle struct {
	payload []byte // the statement
	message []byte // what is signed
	sig     []byte
	claims  []claim
	stamps  [][]byte // RFC 3161 responses
	entries []*protorekor.TransparencyLogEntry
}

// parseBundle reads a sigstore bundle as verifiers that were given a key do.
// They skip what they cannot read, so what they would skip is an error here
// too: a copy of a signature that was spoiled must not count.
func parseBundle(raw []byte) (bundle, error) {
	if len(raw) > maxBundle {
		return bundle{}, fmt.Errorf("bundle: %d bytes, at most %d are read", len(raw), maxBundle)
	}
	// It refuses unknown and double names, however they are spelled, and
	// whatever follows the object.
	var b protobundle.Bundle
	if err := protojson.Unmarshal(raw, &b); err != nil {
		return bundle{}, errors.New("bundle: not the JSON of a bundle")
	}
	if b.GetMediaType() != bundleType {
		return bundle{}, fmt.Errorf("bundle: its media type is %.80q, not %q", b.GetMediaType(), bundleType)
	}
	stamps, err := readMaterial(b.GetVerificationMaterial())
	if err != nil {
		return bundle{}, fmt.Errorf("bundle: %w", err)
	}
	e := b.GetDsseEnvelope()
	switch {
	case e == nil:
		return bundle{}, errors.New("bundle: it has no DSSE envelope")
	case e.GetPayloadType() != payloadInToto:
		return bundle{}, fmt.Errorf("bundle: its payload is of type %.80q, not %q", e.GetPayloadType(), payloadInToto)
	case len(e.GetPayload()) > maxPayload:
		return bundle{}, fmt.Errorf("bundle: its payload has %d bytes, at most %d are read", len(e.GetPayload()), maxPayload)
	case len(e.GetSignatures()) != 1:
		return bundle{}, fmt.Errorf("bundle: %d signatures, not 1", len(e.GetSignatures()))
	}
	sig := e.GetSignatures()[0].GetSig()
	if len(sig) == 0 || len(sig) > maxSignature {
		return bundle{}, fmt.Errorf("bundle: its signature has %d bytes, allowed are 1 to %d", len(sig), maxSignature)
	}
	claims, err := parseStatement(e.GetPayload())
	if err != nil {
		return bundle{}, fmt.Errorf("bundle: %w", err)
	}
	return bundle{payload: e.GetPayload(), message: dsse.PAE(payloadInToto, e.GetPayload()), sig: sig, claims: claims,
		stamps: stamps, entries: b.GetVerificationMaterial().GetTlogEntries()}, nil
}

// readMaterial returns the timestamps of m, if it goes with a signature by a key.
func readMaterial(m *protobundle.VerificationMaterial) ([][]byte, error) {
	if m.GetPublicKey() == nil {
		return nil, errors.New("it names no public key")
	}
	entries, stamps := m.GetTlogEntries(), m.GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(entries) > maxWitnesses || len(stamps) > maxWitnesses {
		return nil, fmt.Errorf("%d log entries and %d timestamps, at most %d are read", len(entries), len(stamps), maxWitnesses)
	}
	for n, entry := range entries {
		if err := readEntry(entry); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", n, err)
		}
	}
	responses := make([][]byte, len(stamps))
	for n, stamp := range stamps {
		if responses[n] = stamp.GetSignedTimestamp(); len(responses[n]) == 0 {
			return nil, fmt.Errorf("timestamp %d is empty", n)
		}
	}
	return responses, nil
}

// readEntry returns nil if e has what verifiers refuse a bundle without, even
// if they were told not to ask the log.
func readEntry(e *protorekor.TransparencyLogEntry) error {
	switch {
	case e.GetInclusionProof() == nil:
		return errors.New("no inclusion proof")
	case len(e.GetCanonicalizedBody()) == 0:
		return errors.New("no body")
	case len(e.GetLogId().GetKeyId()) == 0:
		return errors.New("no log ID")
	case e.GetKindVersion() == nil:
		return errors.New("no kind")
	}
	return nil
}

// identity returns what the bundle calls the repository of s, as k signed it.
func (b bundle) identity(s Subject, k Verifier) (string, error) {
	var name string
	found := 0
	for _, c := range b.claims {
		if c.digest == s.Digest {
			name = c.identity
			found++
		}
	}
	switch {
	case found == 0:
		return "", fmt.Errorf("it speaks of %s", b.claims[0].digest)
	case found > 1:
		return "", errors.New("it speaks of the image twice")
	}
	if err := k.Verify(b.message, b.sig); err != nil {
		return "", errors.New("its signature is not by the key")
	}
	return name, nil
}

// counts returns nil if the bundle is k's signature over s.
func (b bundle) counts(s Subject, k Verifier) error {
	name, err := b.identity(s, k)
	switch {
	case err != nil:
		return err
	case name == "":
		return fmt.Errorf("it does not say which repository it speaks of, %q was wanted", s.Identity)
	case name != s.Identity:
		return fmt.Errorf("it speaks of %.80q, not %q", name, s.Identity)
	}
	return nil
}
