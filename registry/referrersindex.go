package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealwright/sealwright/engine/strictjson"
)

const maxIndexEntries = 1 << 14

// emptyConfig is the media type of a config that says nothing. Registries that
// look at the config alone call it an artifact type.
const emptyConfig = "application/vnd.oci.empty.v1+json"

// An indexDocument is an OCI index that keeps the order of its members and the
// bytes of their values, so that what others wrote survives being rewritten.
type indexDocument struct {
	members []strictjson.Member // of manifests, the value is not kept up to date
	entries []json.RawMessage   // of the member manifests
}

// parseIndex reads one JSON object.
func parseIndex(raw []byte) (*indexDocument, error) {
	d, err := decodeIndex(raw)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, plain(err.Error()))
	}
	return d, err
}

func decodeIndex(raw []byte) (*indexDocument, error) {
	members, err := strictjson.Members(raw)
	if err != nil {
		return nil, err
	}
	d := &indexDocument{members: members}
	for _, m := range members {
		switch {
		case m.Name == "manifests":
			if d.entries, err = decodeIndexEntries(json.NewDecoder(bytes.NewReader(m.Value))); err != nil {
				return nil, err
			}
		case strings.EqualFold(m.Name, "manifests"):
			return nil, fmt.Errorf("ambiguous member %.40q", m.Name)
		}
	}
	return d, nil
}

// decodeIndexEntries reads a list, one entry at a time so that a long one of
// small ones takes no more memory than it should; null is an empty list.
func decodeIndexEntries(dec *json.Decoder) ([]json.RawMessage, error) {
	token, err := dec.Token()
	if err != nil || token == nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, errors.New("manifests is no list")
	}
	var entries []json.RawMessage
	for dec.More() {
		if len(entries) == maxIndexEntries {
			return nil, fmt.Errorf("more than %d entries: %w", maxIndexEntries, ErrTooLarge)
		}
		var e json.RawMessage
		if err := dec.Decode(&e); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, delim(dec, ']')
}

// member returns the value of a member, nil if there is none.
func (d *indexDocument) member(name string) json.RawMessage {
	for _, m := range d.members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// encode writes the index with other entries. A nil one is a new index.
func (d *indexDocument) encode(entries []json.RawMessage) []byte {
	members := []strictjson.Member{
		{Name: "schemaVersion", Value: json.RawMessage("2")},
		{Name: "mediaType", Value: json.RawMessage(`"` + types.OCIImageIndex + `"`)},
	}
	if d != nil {
		members = slices.Clone(d.members)
	}
	manifests := strictjson.Member{Name: "manifests", Value: slices.Concat([]byte{'['}, bytes.Join(rawBytes(entries), []byte{','}), []byte{']'})}
	if i := slices.IndexFunc(members, func(m strictjson.Member) bool { return m.Name == manifests.Name }); i >= 0 {
		members[i] = manifests
	} else {
		members = append(members, manifests)
	}
	return strictjson.Encode(members)
}

func rawBytes(entries []json.RawMessage) [][]byte {
	out := make([][]byte, len(entries))
	for i, e := range entries {
		out[i] = e
	}
	return out
}

// A referrerEntry is an entry of a list of referrers, checked.
type referrerEntry struct {
	raw    json.RawMessage
	digest v1.Hash
	fields referrerFields
}

type referrerFields struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// parseEntry reads an entry. One that names no manifest of a kind that we read,
// or not by a digest that we can check, is an error.
func parseEntry(raw json.RawMessage) (referrerEntry, error) {
	e := referrerEntry{raw: raw}
	if err := json.Unmarshal(raw, &e.fields); err != nil {
		return e, err
	}
	digest, err := v1.NewHash(e.fields.Digest)
	if err != nil {
		return e, err
	}
	if !isManifest(e.fields.MediaType) || e.fields.Size < 0 || e.fields.Size > MaxManifest {
		return e, errors.New("no manifest")
	}
	e.digest = digest
	return e, nil
}

// newReferrerEntry describes a manifest, which must name subject, as the
// specification wants it listed: with its type and annotations.
func newReferrerEntry(subject v1.Hash, mediaType string, raw []byte) (referrerEntry, error) {
	m, err := newManifest(raw, mediaType, v1.Hash{})
	if err != nil {
		return referrerEntry{}, err
	}
	if m.MediaType != mediaType {
		return referrerEntry{}, fmt.Errorf("manifest is %q, not %q: %w", plain(m.MediaType), plain(mediaType), ErrCorrupt)
	}
	s, err := parseShape(raw)
	if err != nil {
		return referrerEntry{}, err
	}
	var more struct {
		Subject     entry             `json:"subject"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(raw, &more); err != nil {
		return referrerEntry{}, fmt.Errorf("manifest: %w: %s", ErrCorrupt, plain(err.Error()))
	}
	if more.Subject.Digest != subject.String() {
		return referrerEntry{}, fmt.Errorf("manifest has the subject %q, want %s: %w", plain(more.Subject.Digest), subject, ErrCorrupt)
	}
	e := referrerEntry{digest: m.Digest, fields: referrerFields{
		MediaType: m.MediaType, Digest: m.Digest.String(), Size: m.Size,
		Annotations: more.Annotations, ArtifactType: s.artifactType(),
	}}
	if e.raw, err = json.Marshal(e.fields); err != nil {
		return referrerEntry{}, fmt.Errorf("entry of the index: %w", err)
	}
	return e, nil
}

// artifactType is what the specification takes for a manifest's type: its own,
// else its config's.
func (s shape) artifactType() string {
	if s.ArtifactType == "" && s.Config != nil {
		return s.Config.MediaType
	}
	return s.ArtifactType
}

// A selection collects the entries of lists that are wanted.
type selection struct {
	want       func(artifactType string) bool
	candidates []candidate
	seen       map[v1.Hash]bool
	unclear    int
}

// A candidate is an entry that is wanted, or may be.
type candidate struct {
	Referrer
	unclear bool // the list leaves its type out
}

func newSelection(want func(string) bool) *selection {
	return &selection{want: want, seen: map[v1.Hash]bool{}}
}

// add takes what is wanted or may be. Malformed entries are passed over.
func (s *selection) add(entries []json.RawMessage) error {
	for _, raw := range entries {
		e, err := parseEntry(raw)
		if err != nil || s.seen[e.digest] {
			continue
		}
		t := e.fields.ArtifactType
		wanted := s.want(t)
		unclear := !wanted && (t == "" || t == emptyConfig)
		if !wanted && !unclear {
			continue
		}
		if unclear {
			s.unclear++
		}
		if s.unclear > maxInspected {
			return fmt.Errorf("more than %d whose type is not listed: %w", maxInspected, ErrTooLarge)
		}
		if len(s.candidates) == MaxReferrers+maxInspected {
			return tooMany()
		}
		s.seen[e.digest] = true
		s.candidates = append(s.candidates, candidate{Referrer: Referrer{
			Descriptor:   Descriptor{MediaType: e.fields.MediaType, Digest: e.digest, Size: e.fields.Size},
			ArtifactType: t,
			Annotations:  e.fields.Annotations,
		}, unclear: unclear})
	}
	return nil
}

func tooMany() error { return fmt.Errorf("more than %d: %w", MaxReferrers, ErrTooLarge) }
