package signature

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// Rekor's first generation takes whole envelopes, and keeps digests of them.
const (
	kindV1    = "dsse"
	versionV1 = "0.0.1"
)

// A dsseRequest asks for an entry.
type dsseRequest struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Spec       dsseSpec `json:"spec"`
}

type dsseSpec struct {
	Proposed dsseProposal `json:"proposedContent"`
}

type dsseProposal struct {
	Envelope  string   `json:"envelope"`
	Verifiers [][]byte `json:"verifiers"` // PEM
}

// A dsseAnswer is an entry as that generation writes it.
type dsseAnswer struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		InclusionProof *dsseProof `json:"inclusionProof"`
		// SignedEntryTimestamp is the log's promise to include the entry.
		SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

type dsseProof struct {
	Checkpoint string   `json:"checkpoint"`
	Hashes     []string `json:"hashes"`
	LogIndex   int64    `json:"logIndex"`
	RootHash   string   `json:"rootHash"`
	TreeSize   int64    `json:"treeSize"`
}

// entryName is what that generation calls an entry: the digest of its leaf,
// after that of its tree.
var entryName = regexp.MustCompile(`^[0-9a-f]{64,80}$`)

func (r *Rekor) enterV1(ctx context.Context, s submission) (*protorekor.TransparencyLogEntry, error) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: s.publicKey})
	request := dsseRequest{versionV1, kindV1, dsseSpec{dsseProposal{string(s.envelope), [][]byte{key}}}}
	answer, err := r.ask(ctx, http.MethodPost, "/api/v1/log/entries", encode(request))
	if err != nil {
		return nil, err
	}
	switch answer.status {
	case http.StatusOK, http.StatusCreated:
		return parseEntryV1(answer.body)
	case http.StatusConflict:
		// It has the entry, and says where. The server is still the one that was
		// configured: only the name of the entry is taken from the answer.
		name := path.Base(answer.header.Get("Location"))
		if !entryName.MatchString(name) {
			return nil, errors.New("the log has the signature and does not say where")
		}
		body, err := r.get(ctx, "/api/v1/log/entries/"+name)
		if err != nil {
			return nil, fmt.Errorf("the log has the signature; reading its entry: %w", err)
		}
		return parseEntryV1(body)
	}
	return nil, answer.refusal()
}

// parseEntryV1 reads an answer that has one entry.
func parseEntryV1(raw []byte) (*protorekor.TransparencyLogEntry, error) {
	var answers map[string]dsseAnswer // by the name of the entry
	if err := json.Unmarshal(raw, &answers); err == nil && len(answers) == 1 {
		for _, a := range answers {
			return a.entry()
		}
	}
	return nil, errors.New("the answer is no entry")
}

// entry returns the entry as bundles have it.
func (a dsseAnswer) entry() (*protorekor.TransparencyLogEntry, error) {
	proof := a.Verification.InclusionProof
	if proof == nil {
		return nil, errors.New("the entry has no inclusion proof")
	}
	entry := &protorekor.TransparencyLogEntry{
		LogIndex:       a.LogIndex,
		LogId:          &protocommon.LogId{},
		KindVersion:    &protorekor.KindVersion{Kind: kindV1, Version: versionV1},
		IntegratedTime: a.IntegratedTime,
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: proof.LogIndex, TreeSize: proof.TreeSize, Hashes: make([][]byte, len(proof.Hashes)),
			Checkpoint: &protorekor.Checkpoint{Envelope: proof.Checkpoint},
		},
		CanonicalizedBody: a.Body,
	}
	if promise := a.Verification.SignedEntryTimestamp; len(promise) > 0 {
		entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	}
	var errs [3]error
	entry.LogId.KeyId, errs[0] = hex.DecodeString(a.LogID)
	entry.InclusionProof.RootHash, errs[1] = hex.DecodeString(proof.RootHash)
	for n, h := range proof.Hashes {
		if entry.InclusionProof.Hashes[n], errs[2] = hex.DecodeString(h); errs[2] != nil {
			break
		}
	}
	if errors.Join(errs[:]...) != nil {
		return nil, errors.New("the entry has hashes that are not hexadecimal")
	}
	return entry, nil
}

// isBodyV1 returns nil if body is what that generation keeps of s. Verifiers
// compare the digest of the payload, the signature and its key; the digest of the
// envelope is of how it was spelled.
func (s submission) isBodyV1(body []byte) error {
	top, err := exactly(body, "apiVersion", "kind", "spec")
	if err != nil {
		return fmt.Errorf("its body: %w", err)
	}
	for name, want := range map[string]string{"apiVersion": versionV1, "kind": kindV1} {
		if said, err := top.text(name); err != nil || said != want {
			return fmt.Errorf("its body: %s is %.40s, not %q", name, top.value(name), want)
		}
	}
	spec, err := exactly(top.value("spec"), "envelopeHash", "payloadHash", "signatures")
	if err != nil {
		return fmt.Errorf("its body: spec: %w", err)
	}
	digest, err := exactly(spec.value("payloadHash"), "algorithm", "value")
	if err != nil {
		return fmt.Errorf("its body: payloadHash: %w", err)
	}
	algorithm, err1 := digest.text("algorithm")
	value, err2 := digest.text("value")
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("its body: payloadHash: %w", err)
	}
	if algorithm != "sha256" || value != hash(s.payload).Hex {
		return errors.New("it is of another statement")
	}
	var signatures []json.RawMessage
	if err := spec.decode("signatures", &signatures); err != nil || len(signatures) != 1 {
		return errors.New("its body: not one signature")
	}
	return s.isSignatureV1(signatures[0])
}

// isSignatureV1 returns nil if raw is how that generation keeps the signature.
func (s submission) isSignatureV1(raw []byte) error {
	o, err := exactly(raw, "signature", "verifier")
	if err != nil {
		return fmt.Errorf("its body: signature: %w", err)
	}
	sig, err1 := o.text("signature")
	verifier, err2 := o.text("verifier")
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("its body: signature: %w", err)
	}
	if sig != base64.StdEncoding.EncodeToString(s.sig) {
		return errors.New("it is of another signature")
	}
	text, err := base64.StdEncoding.DecodeString(verifier)
	block, rest := pem.Decode(text)
	if err != nil || block == nil || len(bytes.TrimSpace(rest)) > 0 || !bytes.Equal(block.Bytes, s.publicKey) {
		return errors.New("it is of another key")
	}
	return nil
}
