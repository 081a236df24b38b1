package registry

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A digestSet is a sorted set of SHA-256 digests: 32 bytes each, so that a
// repository of a million manifests takes 32 MB.
type digestSet struct {
	items  [][32]byte
	sorted bool
}

// add takes digests in any order. Only SHA-256 fits; others are an error.
func (s *digestSet) add(digest v1.Hash) error {
	item, err := itemOf(digest)
	if err != nil {
		return err
	}
	s.items = append(s.items, item)
	s.sorted = false
	return nil
}

func (s *digestSet) sort() {
	if s.sorted {
		return
	}
	slices.SortFunc(s.items, compareDigests)
	s.items = slices.Compact(s.items)
	s.sorted = true
}

func (s *digestSet) has(item [32]byte) bool {
	s.sort()
	_, found := slices.BinarySearchFunc(s.items, item, compareDigests)
	return found
}

func compareDigests(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

func itemOf(digest v1.Hash) (item [32]byte, err error) {
	if digest.Algorithm != "sha256" || len(digest.Hex) != 2*len(item) {
		return item, fmt.Errorf("digest %s is no SHA-256: %w", plain(digest.String()), ErrUnsupported)
	}
	if _, err := hex.Decode(item[:], []byte(digest.Hex)); err != nil {
		return item, fmt.Errorf("digest %s: %w", plain(digest.String()), ErrCorrupt)
	}
	return item, nil
}

func hashOf(item [32]byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(item[:])}
}
