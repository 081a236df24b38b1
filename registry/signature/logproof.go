package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// maxTree bounds the entries of a log. What computes hashes of trees never
	// ends for some that are larger than any log.
	maxTree = 1 << 48
	// algorithmEd25519 is what signed notes call Ed25519.
	algorithmEd25519 = 1
)

// holds returns nil if entry proves that s is in the log.
func (r *Rekor) holds(entry *protorekor.TransparencyLogEntry, s submission) error {
	if err := readEntry(entry); err != nil {
		return err
	}
	body := entry.GetCanonicalizedBody()
	switch kind := entry.GetKindVersion(); {
	case kind.GetKind() == kindV2 && kind.GetVersion() == versionV2:
		ours, err := s.bodyV2()
		if err != nil {
			return err
		}
		if !bytes.Equal(body, ours) {
			return errors.New("it is of something else")
		}
		// Verifiers of this generation take this number for the other.
		if entry.GetLogIndex() != entry.GetInclusionProof().GetLogIndex() {
			return errors.New("its inclusion proof is for another entry")
		}
	case kind.GetKind() == kindV1 && kind.GetVersion() == versionV1:
		if err := s.isBodyV1(body); err != nil {
			return err
		}
	default:
		return fmt.Errorf("it is of kind %.40q, version %.40q, which is none for bundles", kind.GetKind(), kind.GetVersion())
	}
	return r.isIncluded(entry)
}

// isIncluded returns nil if an entry's proof leads to a checkpoint of the log.
func (r *Rekor) isIncluded(entry *protorekor.TransparencyLogEntry) error {
	p := entry.GetInclusionProof()
	head, err := r.checkpoint(p.GetCheckpoint().GetEnvelope())
	if err != nil {
		return err
	}
	if p.GetTreeSize() != head.N || !bytes.Equal(p.GetRootHash(), head.Hash[:]) {
		return errors.New("its inclusion proof is for another tree than its checkpoint")
	}
	proof := make(tlog.RecordProof, len(p.GetHashes()))
	for n, h := range p.GetHashes() {
		if len(h) != tlog.HashSize {
			return errors.New("its inclusion proof has a hash that is none")
		}
		proof[n] = tlog.Hash(h)
	}
	leaf := tlog.RecordHash(entry.GetCanonicalizedBody())
	if err := tlog.CheckRecord(proof, head.N, head.Hash, p.GetLogIndex(), leaf); err != nil {
		return errors.New("its inclusion proof does not lead to its checkpoint")
	}
	if r.key == nil {
		return nil
	}
	if !r.key.hasID(head.name, entry.GetLogId().GetKeyId()) {
		return errors.New("it says that it is of another log")
	}
	return r.key.keeps(entry)
}

// A checkpoint is what a log says of itself.
type checkpoint struct {
	name string // of the log, as signatures have it
	tlog.Tree
}

// checkpoint reads a checkpoint. It has to be signed by the log's key, if that
// is known, and to be the log's whose signature it has.
func (r *Rekor) checkpoint(text string) (checkpoint, error) {
	signatures, content, err := r.open(text)
	if err != nil {
		return checkpoint{}, err
	}
	lines := strings.Split(content, "\n")
	if len(lines) < 4 { // the last line ends, too
		return checkpoint{}, errors.New("its checkpoint has too few lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > maxTree {
		return checkpoint{}, fmt.Errorf("its checkpoint is of a tree with %.40q entries", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return checkpoint{}, errors.New("its checkpoint has no root hash")
	}
	for _, s := range signatures {
		// The first generation adds the number of the tree.
		if lines[0] == s.Name || strings.HasPrefix(lines[0], s.Name+" - ") {
			return checkpoint{s.Name, tlog.Tree{N: size, Hash: tlog.Hash(root)}}, nil
		}
	}
	return checkpoint{}, fmt.Errorf("its checkpoint is of %.80q and not signed by that", lines[0])
}

// open returns the signatures of a signed note that count, and its text.
func (r *Rekor) open(text string) ([]note.Signature, string, error) {
	known := note.VerifierList()
	if r.key != nil {
		known = r.key
	}
	n, err := note.Open([]byte(text), known)
	if err == nil {
		return n.Sigs, n.Text, nil
	}
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified) && r.key == nil:
		return unverified.Note.UnverifiedSigs, unverified.Note.Text, nil
	case errors.As(err, &unverified):
		return nil, "", errors.New("its checkpoint is not signed by the log's key")
	}
	return nil, "", fmt.Errorf("its checkpoint: %w", err)
}

// A logKey is the public key of a log.
type logKey struct {
	spki   []byte
	public crypto.PublicKey
}

// parseLogKey reads a public key in PEM.
func parseLogKey(text []byte) (*logKey, error) {
	const allowed = "the PEM public key of the log, ECDSA P-256 or Ed25519"
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not one PEM block PUBLIC KEY; allowed: " + allowed)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a public key; allowed: " + allowed)
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("it is a key on %s; allowed: %s", k.Curve.Params().Name, allowed)
		}
	default:
		return nil, fmt.Errorf("it is a %T; allowed: %s", public, allowed)
	}
	return &logKey{block.Bytes, public}, nil
}

// verify reports whether sig is the key's over message.
func (k *logKey) verify(message, sig []byte) bool {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(public, sum[:], sig)
	}
	return false
}

// id is what a log of the second generation with this name calls itself.
func (k *logKey) id(name string) []byte {
	named := k.spki
	if public, ok := k.public.(ed25519.PublicKey); ok {
		named = slices.Concat([]byte(name+"\n"), []byte{algorithmEd25519}, public)
	}
	sum := sha256.Sum256(named)
	return sum[:]
}

// hasID reports whether a log with this name and key has the ID: in the first
// generation it is the digest of every kind of key.
func (k *logKey) hasID(name string, id []byte) bool {
	sum := sha256.Sum256(k.spki)
	return bytes.Equal(id, sum[:]) || bytes.Equal(id, k.id(name))
}

// Verifier implements note.Verifiers: the key goes by every name, as the name is
// the log's to choose, but only under the hash that it has with the name.
func (k *logKey) Verifier(name string, keyHash uint32) (note.Verifier, error) {
	sum := sha256.Sum256(k.spki)
	for _, id := range [][]byte{sum[:], k.id(name)} {
		if binary.BigEndian.Uint32(id) == keyHash {
			return noteVerifier{name, keyHash, k}, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: keyHash}
}

// A noteVerifier is a key under a name.
type noteVerifier struct {
	name string
	hash uint32
	*logKey
}

func (v noteVerifier) Name() string { return v.name }

func (v noteVerifier) KeyHash() uint32 { return v.hash }

func (v noteVerifier) Verify(message, sig []byte) bool { return v.verify(message, sig) }

// keeps returns nil unless the entry has a promise of inclusion that is not the
// log's. Verifiers refuse such an entry whatever else proves it.
func (k *logKey) keeps(entry *protorekor.TransparencyLogEntry) error {
	if entry.GetInclusionPromise() == nil {
		return nil
	}
	promised := encode(struct { // canonical JSON: the members in this order
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogID          string `json:"logID"`
		LogIndex       int64  `json:"logIndex"`
	}{entry.GetCanonicalizedBody(), entry.GetIntegratedTime(), hex.EncodeToString(entry.GetLogId().GetKeyId()), entry.GetLogIndex()})
	if !k.verify(promised, entry.GetInclusionPromise().GetSignedEntryTimestamp()) {
		return errors.New("its inclusion promise is not signed by the log's key")
	}
	return nil
}
