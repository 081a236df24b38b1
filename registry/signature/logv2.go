package signature

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

// Rekor's second generation knows one kind of entry, a digest and its signature.
// Of an envelope that is the digest of what was signed.
const (
	kindV2    = "hashedrekord"
	versionV2 = "0.0.2"
)

// A recordRequest asks for an entry.
type recordRequest struct {
	Record struct {
		Digest    []byte          `json:"digest"`
		Signature recordSignature `json:"signature"`
	} `json:"hashedRekordRequestV002"`
}

type recordSignature struct {
	Content  []byte         `json:"content"`
	Verifier recordVerifier `json:"verifier"`
}

type recordVerifier struct {
	KeyDetails string    `json:"keyDetails"`
	PublicKey  recordKey `json:"publicKey"`
}

type recordKey struct {
	RawBytes []byte `json:"rawBytes"`
}

// A recordBody is what the log keeps of an entry, in canonical JSON: with its
// members in this order and nothing between them.
type recordBody struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Spec       recordSpec `json:"spec"`
}

type recordSpec struct {
	Record recordContent `json:"hashedRekordV002"`
}

type recordContent struct {
	Data      recordData      `json:"data"`
	Signature recordSignature `json:"signature"`
}

type recordData struct {
	Algorithm string `json:"algorithm"`
	Digest    []byte `json:"digest"`
}

// record returns the entry of s. Verifiers make it of the bundle and its key
// alone, so it is not the signer's to choose what it says.
func (s submission) record() (recordContent, error) {
	pub, err := x509.ParsePKIXPublicKey(s.publicKey)
	if err != nil {
		return recordContent{}, errors.New("no transparency log knows such keys")
	}
	details, err := sigstore.GetDefaultAlgorithmDetails(pub)
	if err != nil || details.GetHashType() == 0 {
		return recordContent{}, errors.New("no transparency log knows such keys")
	}
	digest := details.GetHashType().New()
	digest.Write(s.message())
	return recordContent{
		Data: recordData{details.GetProtoHashType().String(), digest.Sum(nil)},
		Signature: recordSignature{s.sig, recordVerifier{
			KeyDetails: details.GetSignatureAlgorithm().String(),
			PublicKey:  recordKey{s.publicKey},
		}},
	}, nil
}

// bodyV2 returns what the log keeps of s.
func (s submission) bodyV2() ([]byte, error) {
	record, err := s.record()
	if err != nil {
		return nil, err
	}
	return encode(recordBody{versionV2, kindV2, recordSpec{record}}), nil
}

func (r *Rekor) enterV2(ctx context.Context, s submission) (*protorekor.TransparencyLogEntry, error) {
	record, err := s.record()
	if err != nil {
		return nil, err
	}
	var request recordRequest
	request.Record.Digest, request.Record.Signature = record.Data.Digest, record.Signature
	answer, err := r.ask(ctx, http.MethodPost, "/api/v2/log/entries", encode(request))
	if err != nil {
		return nil, err
	}
	switch answer.status {
	case http.StatusOK, http.StatusCreated:
	case http.StatusConflict:
		return r.enteredV2(ctx, s, answer.header.Get("X-Log-Index"))
	default:
		return nil, answer.refusal()
	}
	var entry protorekor.TransparencyLogEntry
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(answer.body, &entry); err != nil {
		return nil, errors.New("the answer is no entry")
	}
	return &entry, nil
}

// enteredV2 returns the entry of s, which the log has at an index. Keys that
// always sign alike come here when the signature was entered and then not
// stored. The log does not give entries away, only what proves them.
func (r *Rekor) enteredV2(ctx context.Context, s submission, at string) (*protorekor.TransparencyLogEntry, error) {
	index, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return nil, errors.New("the log has the signature and does not say where")
	}
	if r.key == nil {
		return nil, errors.New("the log has the signature, and its public key is needed to find it there")
	}
	answer, err := r.get(ctx, "/api/v2/checkpoint")
	if err != nil {
		return nil, fmt.Errorf("the log has the signature; reading its checkpoint: %w", err)
	}
	head, err := r.checkpoint(string(answer))
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= head.N {
		return nil, fmt.Errorf("the log has the signature at %d, and its checkpoint has %d entries", index, head.N)
	}
	proof, err := tlog.ProveRecord(head.N, index, tlog.TileHashReader(head.Tree, r.tiles(ctx)))
	if err != nil {
		return nil, fmt.Errorf("the log has the signature; reading its tree: %w", err)
	}
	body, err := s.bodyV2()
	if err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(proof))
	for n := range proof {
		hashes[n] = proof[n][:]
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:    index,
		LogId:       &protocommon.LogId{KeyId: r.key.id(head.name)},
		KindVersion: &protorekor.KindVersion{Kind: kindV2, Version: versionV2},
		InclusionProof: &protorekor.InclusionProof{
			LogIndex: index, RootHash: head.Hash[:], TreeSize: head.N, Hashes: hashes,
			Checkpoint: &protorekor.Checkpoint{Envelope: string(answer)},
		},
		CanonicalizedBody: body,
	}, nil
}

// get reads one document of the log.
func (r *Rekor) get(ctx context.Context, path string) ([]byte, error) {
	answer, err := r.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if answer.status != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, answer.status)
	}
	return answer.body, nil
}

// tiles returns a reader of the log's tiles, for a library that asks for them
// without a context.
func (r *Rekor) tiles(ctx context.Context) tlog.TileReader {
	return tileReader(func(tiles []tlog.Tile) ([][]byte, error) {
		data := make([][]byte, len(tiles))
		for n, tile := range tiles {
			// All tiles here have the same height, so these paths do not name it.
			path, _ := strings.CutPrefix(tile.Path(), "tile/8")
			var err error
			if data[n], err = r.get(ctx, "/api/v2/tile"+path); err != nil {
				return nil, err
			}
		}
		return data, nil
	})
}

type tileReader func(tiles []tlog.Tile) ([][]byte, error)

func (tileReader) Height() int { return 8 }

func (read tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) { return read(tiles) }

func (tileReader) SaveTiles([]tlog.Tile, [][]byte) {}
