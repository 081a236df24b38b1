package swr

import (
	"crypto/sha256"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	segmentRE   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
	referenceRE = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})$`)
)

const (
	maxNamespace  = 64
	maxRepository = 255

	namespaceAllowed  = "1 to 64 lower-case letters, digits, and single '.', '_', '-' between them"
	repositoryAllowed = "lower-case letters, digits, single '.', '_', '-' and '/' between them, at most 255 characters"
	referenceAllowed  = "a tag, or sha256: and 64 hexadecimal digits"
)

func validNamespace(s string) bool { return len(s) <= maxNamespace && segmentRE.MatchString(s) }

func validRepository(s string) bool {
	if len(s) > maxRepository {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !segmentRE.MatchString(part) {
			return false
		}
	}
	return true
}

// derived is the id of what has none: a positive number that follows from its names.
// So it is the same for good, on every replica, and nothing has to be kept. Two
// things may have the same, but nothing is looked up by it.
func derived(names ...string) int32 {
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return int32(max(1, binary.BigEndian.Uint32(sum[:])>>1)) // 31 bits
}

// stamp writes a time as SWR does; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

func problem(got string) string {
	if got == "" {
		return "is required"
	}
	if r := []rune(got); len(r) > 100 {
		got = string(r[:100]) + "…"
	}
	return strconv.Quote(got) + " is not allowed"
}
