package ocir

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/artifacts"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/sink/ocir/message"
	"github.com/sealwright/sealwright/kms"
)

// pages bounds how many pages of signatures are looked at. Who fills them with others
// makes us upload one more, and nothing else.
const pages = 10

// retryDomain keeps retry tokens apart from all other hashes.
const retryDomain = "sealwright.dev/oracle-image-signature/v1"

// A keyVersion is the key that signs, as Oracle calls it.
type keyVersion struct {
	signer            kms.Signer
	id, version, name string // name is the algorithm's
}

// A subject is what a signature is of, and by.
type subject struct {
	compartment, image         string // OCIDs
	digest, repository, region string
	key                        keyVersion
}

// An upload is a signature that was made for an entry.
type upload struct {
	entry   string // its hash
	details artifacts.CreateContainerImageSignatureDetails
}

// version returns the key in force.
func (s *Sink) version() (keyVersion, error) {
	signer, err := s.opts.Key.Signer()
	if err != nil {
		return keyVersion{}, err
	}
	k := keyVersion{signer: signer, id: s.opts.KeyID, version: s.opts.KeyVersionID}
	if k.version == "" {
		k.version = signer.Version()
	}
	if k.version == "" {
		return keyVersion{}, errors.New("the key's store has no versions, and the sink names none")
	}
	ours := signer.Public().Algorithm()
	name, ok := message.AlgorithmOf(ours)
	if !ok {
		return keyVersion{}, fmt.Errorf("the key signs with %s; allowed: RSA_PSS_SHA_256, RSA_PSS_SHA_384, RSA_PSS_SHA_512", ours)
	}
	k.name = name
	return k, nil
}

// there returns whether a signature of the subject is there. One that only says so is
// none: it is believed after it was verified.
func (s *Sink) there(ctx context.Context, of subject) (bool, error) {
	request := artifacts.ListContainerImageSignaturesRequest{CompartmentId: &of.compartment, RepositoryName: &of.repository, ImageDigest: &of.digest,
		KmsKeyId: &of.key.id, KmsKeyVersionId: &of.key.version,
		SigningAlgorithm: artifacts.ListContainerImageSignaturesSigningAlgorithmEnum(of.key.name)}
	for range pages {
		list, next, err := s.client.signatures(ctx, request)
		if err != nil {
			return false, err
		}
		for _, item := range list {
			if text(item.ImageId) == of.image && item.LifecycleState != deleting && item.LifecycleState != deleted &&
				of.verify(text(item.Message), text(item.Signature)) == nil {
				return true, nil
			}
		}
		if next == "" {
			return false, nil
		}
		request.Page = &next
	}
	return false, nil
}

// verify returns nil if the signature is the key's, and of the subject.
func (of subject) verify(uploaded, signature string) error {
	m, signed, err := message.Parse(uploaded)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || strings.ContainsAny(signature, "\r\n") {
		return errors.New("the signature is not base64")
	}
	want := of.message()
	// What else it says is not what a verifier asks for.
	want.Description, want.Metadata, want.Region = m.Description, m.Metadata, m.Region
	if m != want {
		return errors.New("the message is of another image or key")
	}
	return message.Verify(of.key.signer.Public(), of.key.name, signed, raw)
}

func (of subject) message() message.Message {
	return message.Message{ImageDigest: of.digest, KMSKeyID: of.key.id, KMSKeyVersionID: of.key.version, Region: of.region,
		RepositoryName: of.repository, SigningAlgorithm: of.key.name}
}

// token is the same at each try of an entry, so that Oracle keeps one upload of it.
func (of subject) token(e journal.Entry) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{retryDomain, e.Hash, of.image, of.key.id, of.key.version}, "\n")))
	return hex.EncodeToString(sum[:])
}

// upload signs, uploads and reads back.
func (s *Sink) upload(ctx context.Context, e journal.Entry, of subject) error {
	details, err := s.signed(ctx, e, of)
	if err != nil {
		return err
	}
	id, err := s.client.upload(ctx, details, of.token(e))
	if err != nil {
		return fmt.Errorf("uploading the signature: %w", err)
	}
	got, err := s.client.signature(ctx, id)
	if err != nil {
		return fmt.Errorf("reading the signature back: %w", err)
	}
	if text(got.ImageId) != of.image || text(got.KmsKeyId) != of.key.id || text(got.KmsKeyVersionId) != of.key.version ||
		text(got.Message) != *details.Message || text(got.Signature) != *details.Signature {
		return fmt.Errorf("reading the signature back: %w: it is not what was uploaded", errAnswer)
	}
	return nil
}

// signed returns what is to be uploaded. What was signed for this entry before, and
// perhaps not uploaded, is not signed again.
func (s *Sink) signed(ctx context.Context, e journal.Entry, of subject) (artifacts.CreateContainerImageSignatureDetails, error) {
	if p := s.pending; p != nil && p.entry == e.Hash && *p.details.ImageId == of.image && of.verify(*p.details.Message, *p.details.Signature) == nil {
		return p.details, nil
	}
	toSign, uploaded, err := of.message().Build()
	if err != nil {
		return artifacts.CreateContainerImageSignatureDetails{}, err
	}
	begin := time.Now()
	raw, err := of.key.signer.Sign(ctx, toSign)
	s.opts.KeyUsed(time.Since(begin), err)
	if err != nil {
		return artifacts.CreateContainerImageSignatureDetails{}, fmt.Errorf("signing the message: %w", err)
	}
	signature := base64.StdEncoding.EncodeToString(raw)
	if err := of.verify(uploaded, signature); err != nil {
		return artifacts.CreateContainerImageSignatureDetails{}, fmt.Errorf("verifying what the key signed: %w", err)
	}
	s.pending = &upload{e.Hash, artifacts.CreateContainerImageSignatureDetails{CompartmentId: &of.compartment, ImageId: &of.image,
		KmsKeyId: &of.key.id, KmsKeyVersionId: &of.key.version, Message: &uploaded, Signature: &signature,
		SigningAlgorithm: artifacts.CreateContainerImageSignatureDetailsSigningAlgorithmEnum(of.key.name)}}
	return s.pending.details, nil
}
