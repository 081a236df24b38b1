package engine_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/matcher"
	"github.com/sealwright/sealwright/registry"
)

// Neither the matcher nor the registry may import the other, so each has its
// own IsSignatureTag. A tag that only one of them takes for a signature's
// would be covered and never seen, or seen and signed.
func TestSignatureTagTwins(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	table := map[string]bool{
		"sha256-" + hex:                      true,
		"sha256-" + hex + ".sig":             true,
		"sha256-" + hex + ".att":             true,
		"sha256-" + hex + ".sbom":            true,
		"sha256-" + hex + ".":                false,
		"sha256-" + hex + ".SIG":             false,
		"sha256-" + hex + ".sig.sig":         false,
		"sha256-" + hex + ".sig\n":           false,
		"sha256-" + hex + "\n":               false,
		"sha256-" + hex + "0":                false,
		"sha256-" + hex[1:]:                  false,
		"sha256-" + strings.ToUpper(hex):     false,
		"sha512-" + hex:                      false,
		"sha256:" + hex:                      false,
		"SHA256-" + hex:                      false,
		" sha256-" + hex:                     false,
		"v1":                                 false,
		"":                                   false,
		"sha256-" + hex + ".sigstore":        false,
		"sha256-" + hex + "-sig":             false,
		"sha256-" + strings.Repeat("٣", 32):  false,
		"v\nsha256-" + hex + ".sig":          false,
		"sha256-" + hex[:63] + "g" + ".sbom": false,
	}
	for tag, expected := range table {
		if m, r := matcher.IsSignatureTag(tag), registry.IsSignatureTag(tag); m != expected || r != expected {
			t.Errorf("%q: matcher %t, registry %t, want %t", tag, m, r, expected)
		}
		mutate(t, tag)
	}
}

// mutate compares the twins on neighbours of a tag.
func mutate(t *testing.T, tag string) {
	t.Helper()
	const letters = "0123456789abcdefgABCDEF.-_:sightomx\n\x00\xff "
	random := rand.New(rand.NewPCG(1, uint64(len(tag)))) // the same every time
	for range 2000 {
		b := []byte(tag)
		for range 1 + random.IntN(2) {
			at := random.IntN(len(b) + 1)
			letter := letters[random.IntN(len(letters))]
			switch {
			case at == len(b) || random.IntN(3) == 0:
				b = append(b[:at], append([]byte{letter}, b[at:]...)...)
			case random.IntN(2) == 0:
				b = append(b[:at], b[at+1:]...)
			default:
				b[at] = letter
			}
		}
		mutant := string(b)
		if m, r := matcher.IsSignatureTag(mutant), registry.IsSignatureTag(mutant); m != r {
			t.Fatalf("%q: matcher %t, registry %t", mutant, m, r)
		}
	}
}
