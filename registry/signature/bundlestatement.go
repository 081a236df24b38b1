package signature

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// payloadInToto is the type of what a bundle signs.
	payloadInToto = "application/vnd.in-toto+json"
	// statementType is the version of in-toto statements that cosign writes.
	statementType = "https://in-toto.io/Statement/v1"
	// predicateSign says that a statement is a signature and attests nothing
	// else.
	predicateSign = "https://sigstore.dev/cosign/sign/v1"

	// maxSubjects bounds the subjects of a statement that is read. Ours and
	// cosign's have one.
	maxSubjects = 16
)

// Statements are written with their members in the order that cosign has them.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     struct{}           `json:"predicate"`
}

type statementSubject struct {
	// Name is the identity, which cosign does not write.
	Name   string          `json:"name"`
	Digest statementDigest `json:"digest"`
}

type statementDigest struct {
	SHA256 string `json:"sha256"`
}

// newStatement returns the bytes that a bundle signs for s: an in-toto
// statement. The same subject always gives the same bytes.
func newStatement(s Subject) []byte {
	return encode(statement{
		Type:          statementType,
		Subject:       []statementSubject{{s.Identity, statementDigest{s.Digest.Hex}}},
		PredicateType: predicateSign,
	})
}

// parseStatement reads the statement that a bundle signs and returns its
// subjects; one without a name has an empty identity. It is strict: what
// attests something else, or what another verifier could read differently, is
// no signature.
func parseStatement(raw []byte) ([]claim, error) {
	o, err := within(raw, "_type", "subject", "predicateType", "predicate")
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	for name, want := range map[string]string{"_type": statementType, "predicateType": predicateSign} {
		if said, err := o.text(name); err != nil || said != want {
			return nil, fmt.Errorf("statement: %s is %.80s, not %q", name, o.value(name), want)
		}
	}
	if p := o.value("predicate"); p != nil {
		if _, err := parseObject(p); err != nil {
			return nil, fmt.Errorf("statement: predicate: %w", err)
		}
	}
	var list []json.RawMessage
	if err := o.decode("subject", &list); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	if len(list) == 0 || len(list) > maxSubjects {
		return nil, fmt.Errorf("statement: %d subjects, allowed are 1 to %d", len(list), maxSubjects)
	}
	claims := make([]claim, len(list))
	for n, raw := range list {
		if claims[n], err = parseSubject(raw); err != nil {
			return nil, fmt.Errorf("statement: subject %d: %w", n, err)
		}
	}
	return claims, nil
}

func parseSubject(raw []byte) (claim, error) {
	o, err := within(raw, "name", "digest", "annotations")
	if err != nil {
		return claim{}, err
	}
	if a := o.value("annotations"); a != nil {
		if _, err := parseObject(a); err != nil {
			return claim{}, fmt.Errorf("annotations: %w", err)
		}
	}
	var c claim
	if o.value("name") != nil {
		if c.identity, err = o.text("name"); err != nil {
			return claim{}, err
		}
	}
	digest, err := exactly(o.value("digest"), "sha256")
	if err != nil {
		return claim{}, fmt.Errorf("digest: %w", err)
	}
	hex, err := digest.text("sha256")
	if err != nil {
		return claim{}, fmt.Errorf("digest: %w", err)
	}
	if c.digest, err = v1.NewHash("sha256:" + hex); err != nil {
		return claim{}, errors.New("digest: sha256 is no SHA-256 digest")
	}
	return c, nil
}

// within parses an object that has no other members than these.
func within(raw []byte, names ...string) (object, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	rest := o
	for _, name := range names {
		rest = rest.without(name)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("unknown member %.40q", rest[0].Name)
	}
	return o, nil
}
