package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

// A rekorServer is a transparency log of either generation, with a real tree and
// real signatures, as far as clients see it.
type rekorServer struct {
	t          testing.TB
	url        string
	generation int
	name       string // as its checkpoints have it
	key        crypto.Signer

	mu     sync.Mutex
	hashes []tlog.Hash
	bodies []string
	asked  []string // methods and paths

	// answers answers a request, if it returns true.
	answers func(w http.ResponseWriter, r *http.Request) bool
	// tamper changes entries before they are given out.
	tamper func(*protorekor.TransparencyLogEntry)
	// says changes the text of checkpoints before they are signed.
	says func(string) string
}

// newRekorServer starts a log that has a few entries by others.
func newRekorServer(t testing.TB, generation int, key crypto.Signer) *rekorServer {
	t.Helper()
	s := &rekorServer{t: t, generation: generation, name: "rekor.example.com", key: key}
	for n := range 5 {
		s.add(fmt.Sprintf(`{"of":"somebody else","n":%d}`, n))
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func edKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func spki(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func publicPEM(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, public)})
}

// client returns a client of the log that knows its key.
func (s *rekorServer) client() *Rekor {
	s.t.Helper()
	return rekorAt(s.t, s.url, publicPEM(s.t, s.key.Public()))
}

func rekorAt(t testing.TB, url string, key []byte) *Rekor {
	t.Helper()
	r, err := NewRekor(RekorConfig{URL: url, PublicKey: key, Client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *rekorServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	tile, isTile := strings.CutPrefix(r.URL.Path, "/api/v2/tile/")
	entry, isEntry := strings.CutPrefix(r.URL.Path, "/api/v1/log/entries/")
	switch {
	case s.answers != nil && s.answers(w, r):
	case r.URL.Path == fmt.Sprintf("/api/v%d/log/entries", s.generation) && r.Method == http.MethodPost:
		s.enter(w, r)
	case s.generation == 2 && r.URL.Path == "/api/v2/checkpoint":
		_, _ = io.WriteString(w, s.checkpoint())
	case s.generation == 2 && isTile:
		s.giveTile(w, tile)
	case s.generation == 1 && r.URL.Path == "/api/v1/log":
		_ = json.NewEncoder(w).Encode(map[string]any{"treeSize": len(s.bodies), "signedTreeHead": s.checkpoint()})
	case s.generation == 1 && isEntry:
		for n, body := range s.bodies {
			if leafName(body) == entry {
				s.give(w, http.StatusOK, int64(n))
				return
			}
		}
		http.NotFound(w, r)
	default:
		http.NotFound(w, r)
	}
}

func leafName(body string) string {
	leaf := tlog.RecordHash([]byte(body))
	return hex.EncodeToString(leaf[:])
}

// enter takes an entry, once.
func (s *rekorServer) enter(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	body, err := s.bodyV2(raw)
	if s.generation == 1 {
		body, err = s.bodyV1(raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if at := slices.Index(s.bodies, body); at >= 0 {
		if s.generation == 1 {
			w.Header().Set("Location", "http://elsewhere.example.com/api/v1/log/entries/"+leafName(body))
		} else {
			w.Header().Set("x-log-index", fmt.Sprint(at))
		}
		http.Error(w, "an equivalent entry already exists", http.StatusConflict)
		return
	}
	s.give(w, http.StatusCreated, s.add(body))
}

// bodyV2 returns the canonical body of a request, after verifying the signature.
func (s *rekorServer) bodyV2(raw []byte) (string, error) {
	var request struct {
		Record struct {
			Digest    []byte
			Signature struct {
				Content  []byte
				Verifier struct {
					KeyDetails string
					PublicKey  struct{ RawBytes []byte }
				}
			}
		} `json:"hashedRekordRequestV002"`
	}
	if err := json.Unmarshal(raw, &request); err != nil {
		return "", err
	}
	record := request.Record
	details := record.Signature.Verifier.KeyDetails
	known := map[string]struct {
		hash crypto.Hash
		name string
	}{
		"PKIX_ECDSA_P256_SHA_256":       {crypto.SHA256, "SHA2_256"},
		"PKIX_ECDSA_P384_SHA_384":       {crypto.SHA384, "SHA2_384"},
		"PKIX_RSA_PKCS1V15_2048_SHA256": {crypto.SHA256, "SHA2_256"},
	}[details]
	if err := verifies(record.Signature.Verifier.PublicKey.RawBytes, known.hash, record.Digest, record.Signature.Content); err != nil {
		return "", err
	}
	// Maps are written with their members in alphabetical order.
	body, err := json.Marshal(map[string]any{"kind": "hashedrekord", "apiVersion": "0.0.2", "spec": map[string]any{"hashedRekordV002": map[string]any{
		"data": map[string]any{"algorithm": known.name, "digest": record.Digest},
		"signature": map[string]any{"content": record.Signature.Content, "verifier": map[string]any{
			"keyDetails": details, "publicKey": map[string]any{"rawBytes": record.Signature.Verifier.PublicKey.RawBytes}}},
	}}})
	return string(body), err
}

// bodyV1 returns the canonical body of a request, after verifying the signature.
func (s *rekorServer) bodyV1(raw []byte) (string, error) {
	var request struct {
		Kind, APIVersion string
		Spec             struct {
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
		}
	}
	if err := json.Unmarshal(raw, &request); err != nil || request.Kind != "dsse" || request.APIVersion != "0.0.1" {
		return "", fmt.Errorf("no request of kind dsse: %w", err)
	}
	content := request.Spec.ProposedContent
	var envelope dsse.Envelope
	if err := json.Unmarshal([]byte(content.Envelope), &envelope); err != nil || len(envelope.Signatures) != 1 || len(content.Verifiers) != 1 {
		return "", fmt.Errorf("not one signature and one key: %w", err)
	}
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return "", err
	}
	sig, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(content.Verifiers[0])
	if block == nil {
		return "", fmt.Errorf("the key is no PEM")
	}
	digest := sha256.Sum256(dsse.PAE(envelope.PayloadType, payload))
	if err := verifies(block.Bytes, crypto.SHA256, digest[:], sig); err != nil {
		return "", err
	}
	sum := func(b []byte) map[string]any {
		h := sha256.Sum256(b)
		return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(h[:])}
	}
	body, err := json.Marshal(map[string]any{"kind": "dsse", "apiVersion": "0.0.1", "spec": map[string]any{
		"envelopeHash": sum([]byte(content.Envelope)), "payloadHash": sum(payload),
		"signatures": []any{map[string]any{"signature": envelope.Signatures[0].Sig, "verifier": pem.EncodeToMemory(block)}},
	}})
	return string(body), err
}

func verifies(der []byte, h crypto.Hash, digest, sig []byte) error {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if len(digest) == h.Size() && ecdsa.VerifyASN1(k, digest, sig) {
			return nil
		}
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, h, digest, sig)
	}
	return fmt.Errorf("the signature does not verify")
}

// add appends an entry and returns its index.
func (s *rekorServer) add(body string) int64 {
	n := int64(len(s.bodies))
	hashes, err := tlog.StoredHashes(n, []byte(body), s.reader())
	if err != nil {
		s.t.Fatal(err)
	}
	s.hashes, s.bodies = append(s.hashes, hashes...), append(s.bodies, body)
	return n
}

func (s *rekorServer) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for n, i := range indexes {
			out[n] = s.hashes[i]
		}
		return out, nil
	})
}

func (s *rekorServer) root() tlog.Hash {
	root, err := tlog.TreeHash(int64(len(s.bodies)), s.reader())
	if err != nil {
		s.t.Fatal(err)
	}
	return root
}

// checkpoint is signed by the log, and by a witness that nobody knows.
func (s *rekorServer) checkpoint() string {
	origin := s.name
	if s.generation == 1 {
		origin += " - 1193050959916656506"
	}
	root := s.root()
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, len(s.bodies), base64.StdEncoding.EncodeToString(root[:]))
	if s.says != nil {
		text = s.says(text)
	}
	return sealCheckpoint(s.t, text, noteSigner{s.t, "witness.example.com", edKey(s.t), 2}, noteSigner{s.t, s.name, s.key, s.generation})
}

func sealCheckpoint(t testing.TB, text string, signers ...note.Signer) string {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// A noteSigner signs notes as a log does.
type noteSigner struct {
	t          testing.TB
	name       string
	key        crypto.Signer
	generation int
}

func (n noteSigner) Name() string { return n.name }

func (n noteSigner) KeyHash() uint32 { return binary.BigEndian.Uint32(n.id()) }

// id is the ID of the log.
func (n noteSigner) id() []byte {
	named := spki(n.t, n.key.Public())
	if public, ok := n.key.Public().(ed25519.PublicKey); ok && n.generation == 2 {
		named = append([]byte(n.name+"\n\x01"), public...)
	}
	sum := sha256.Sum256(named)
	return sum[:]
}

func (n noteSigner) Sign(message []byte) ([]byte, error) {
	if _, ok := n.key.Public().(ed25519.PublicKey); ok {
		return n.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return n.key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// give answers with the entry of that index.
func (s *rekorServer) give(w http.ResponseWriter, status int, index int64) {
	entry := s.entry(index)
	if s.tamper != nil {
		s.tamper(entry)
	}
	var answer []byte
	if s.generation == 2 {
		answer, _ = protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(entry)
	} else {
		answer = s.answerV1(entry)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (s *rekorServer) entry(index int64) *protorekor.TransparencyLogEntry {
	size, root := int64(len(s.bodies)), s.root()
	proof, err := tlog.ProveRecord(size, index, s.reader())
	if err != nil {
		s.t.Fatal(err)
	}
	included := &protorekor.InclusionProof{LogIndex: index, TreeSize: size, RootHash: root[:], Checkpoint: &protorekor.Checkpoint{Envelope: s.checkpoint()}}
	for _, h := range proof {
		included.Hashes = append(included.Hashes, h[:])
	}
	entry := &protorekor.TransparencyLogEntry{
		LogIndex: index, LogId: &protocommon.LogId{KeyId: noteSigner{s.t, s.name, s.key, s.generation}.id()},
		KindVersion:    &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"},
		InclusionProof: included, CanonicalizedBody: []byte(s.bodies[index]),
	}
	if s.generation == 1 {
		entry.LogIndex += 1000 // it counts the entries of earlier trees, too
		entry.IntegratedTime = 1790000000
		entry.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
		promise, err := noteSigner{s.t, s.name, s.key, 1}.Sign(fmt.Appendf(nil, `{"body":%q,"integratedTime":%d,"logID":%q,"logIndex":%d}`,
			base64.StdEncoding.EncodeToString(entry.GetCanonicalizedBody()), entry.GetIntegratedTime(), hex.EncodeToString(entry.GetLogId().GetKeyId()), entry.GetLogIndex()))
		if err != nil {
			s.t.Fatal(err)
		}
		entry.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	}
	return entry
}

// answerV1 writes an entry as the first generation does.
func (s *rekorServer) answerV1(e *protorekor.TransparencyLogEntry) []byte {
	verification := map[string]any{"signedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp()}
	if p := e.GetInclusionProof(); p != nil {
		hashes := []string{}
		for _, h := range p.GetHashes() {
			hashes = append(hashes, hex.EncodeToString(h))
		}
		verification["inclusionProof"] = map[string]any{"checkpoint": p.GetCheckpoint().GetEnvelope(), "hashes": hashes,
			"logIndex": p.GetLogIndex(), "rootHash": hex.EncodeToString(p.GetRootHash()), "treeSize": p.GetTreeSize()}
	}
	answer, err := json.Marshal(map[string]any{leafName(string(e.GetCanonicalizedBody())): map[string]any{
		"attestation": map[string]any{}, "body": e.GetCanonicalizedBody(), "integratedTime": e.GetIntegratedTime(),
		"logID": hex.EncodeToString(e.GetLogId().GetKeyId()), "logIndex": e.GetLogIndex(), "verification": verification,
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// giveTile answers with a tile of hashes.
func (s *rekorServer) giveTile(w http.ResponseWriter, path string) {
	tile, err := tlog.ParseTilePath("tile/8/" + path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := tlog.ReadTileData(tile, s.reader())
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(data)
}

// since returns what was asked since the last call.
func (s *rekorServer) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// logKeys are the kinds of keys that logs have.
func logKeys(t testing.TB) map[string]crypto.Signer {
	return map[string]crypto.Signer{"Ed25519": edKey(t), "P-256": curveKey(t, elliptic.P256())}
}
