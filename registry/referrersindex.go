package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxIndexEntries = 1 << 14
	maxIndexMembers = 64 // there should be five
)

// emptyConfig is the media type of a config that says nothing. Registries that
// look at the config alone call it an artifact type.
const emptyConfig = "application/vnd.oci.empty.v1+json"

// An indexDocument is an OCI index that keeps the order of its members and the
// bytes of their values, so that what others wrote survives being rewritten.
type indexDocument struct {
	members []indexMember
	entries []json.RawMessage // of the member manifests
}

type indexMember struct {
	name  string
	value json.RawMessage // of manifests: not kept up to date
}

// parseIndex reads one JSON object. Names that are the same but for case are
// refused: readers differ in which of them they use.
func parseIndex(raw []byte) (*indexDocument, error) {
	d, err := decodeIndex(raw)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, plain(err.Error()))
	}
	return d, err
}

func decodeIndex(raw []byte) (*indexDocument, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := delim(dec, '{'); err != nil {
		return nil, err
	}
	d := &indexDocument{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := indexMember{}
		m.name, _ = token.(string) // nothing else comes before a colon
		if len(d.members) == maxIndexMembers {
			return nil, fmt.Errorf("more than %d members", maxIndexMembers)
		}
		if slices.ContainsFunc(d.members, func(have indexMember) bool { return strings.EqualFold(have.name, m.name) }) ||
			m.name != "manifests" && strings.EqualFold(m.name, "manifests") {
			return nil, fmt.Errorf("ambiguous member %.40q", m.name)
		}
		if m.name == "manifests" {
			m.value = json.RawMessage("[]")
			d.entries, err = decodeIndexEntries(dec)
		} else {
			err = dec.Decode(&m.value)
		}
		if err != nil {
			return nil, err
		}
		d.members = append(d.members, m)
	}
	if err := delim(dec, '}'); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
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
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// encode writes the index with other entries. A nil one is a new index.
func (d *indexDocument) encode(entries []json.RawMessage) []byte {
	members := []indexMember{
		{"schemaVersion", json.RawMessage("2")},
		{"mediaType", json.RawMessage(`"` + types.OCIImageIndex + `"`)},
	}
	if d != nil {
		members = slices.Clone(d.members)
	}
	if d == nil || d.member("manifests") == nil {
		members = append(members, indexMember{name: "manifests"})
	}
	var out bytes.Buffer
	separator := byte('{')
	for _, m := range members {
		name, _ := json.Marshal(m.name) // a string always can be
		out.WriteByte(separator)
		out.Write(name)
		out.WriteByte(':')
		if m.name == "manifests" {
			out.WriteByte('[')
			out.Write(bytes.Join(rawBytes(entries), []byte{','}))
			out.WriteByte(']')
		} else {
			out.Write(m.value)
		}
		separator = ','
	}
	out.WriteByte('}')
	return out.Bytes()
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
