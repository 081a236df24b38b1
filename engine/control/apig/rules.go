package apig

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// The types of signature keys.
const (
	typeHMAC      = "hmac"
	typeBasic     = "basic"
	typePublicKey = "public_key"
	typeAES       = "aes"
)

// aesSizes are the lengths of AES keys by algorithm.
var aesSizes = map[string]int{"aes-128-cfb": 16, "aes-256-cfb": 32} //nolint:gochecknoglobals // a table

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
)

// A rule is what a value may be.
type rule struct {
	min, max    int
	first, rest string // the characters that are allowed
	// generate makes a value that nobody can guess.
	generate func() string
}

// names are the rule of names.
var names = rule{min: 3, max: 64, first: letters, rest: letters + digits + "_"} //nolint:gochecknoglobals // a table

func (r rule) fits(value string) bool {
	return len(value) >= r.min && len(value) <= r.max && strings.IndexByte(r.first, value[0]) >= 0 &&
		strings.Trim(value, r.rest) == ""
}

// String says what is allowed.
func (r rule) String() string {
	return fmt.Sprintf("allowed: %s, %s, first %s", count(r.min, r.max), spell(r.rest), spell(r.first))
}

func count(low, high int) string {
	if low == high {
		return fmt.Sprintf("%d characters", low)
	}
	return fmt.Sprintf("%d to %d characters", low, high)
}

// spell says which characters a set has.
func spell(set string) string {
	said := "letters"
	rest := strings.TrimPrefix(set, letters)
	if strings.HasPrefix(rest, digits) {
		said += ", digits"
		rest = rest[len(digits):]
	}
	if rest != "" {
		said += " and " + rest
	}
	return said
}

// rulesOf returns the rules of a type, with which its algorithm fits, or the name of
// the parameter that is wrong and what it may be.
func rulesOf(kind, algorithm string) (key, secret rule, wrong, allowed string) {
	const plain, special = letters + digits + "_-", letters + digits + "_-!@#$%"
	const start, all = letters + digits + "+/", special + "+/="
	if kind != typeAES && algorithm != "" {
		return rule{}, rule{}, fieldAlgorithm, "allowed: only with sign_type aes"
	}
	switch kind {
	case typeHMAC:
		return rule{8, 32, letters + digits, plain, randomHex}, rule{16, 64, letters + digits, special, randomHex}, "", ""
	case typeBasic:
		return rule{4, 32, letters, plain, randomName}, rule{8, 64, letters + digits, special, randomHex}, "", ""
	case typePublicKey:
		return rule{8, 512, start, plain + "+/=", randomHex}, rule{16, 2048, start, all, randomHex}, "", ""
	case typeAES:
		n := aesSizes[algorithm]
		if n == 0 {
			return rule{}, rule{}, fieldAlgorithm, "allowed: aes-128-cfb, aes-256-cfb"
		}
		return rule{n, n, start, all, func() string { return randomText(n) }}, rule{16, 16, start, all, func() string { return randomText(16) }}, "", ""
	}
	return rule{}, rule{}, fieldType, "allowed: hmac, basic, public_key, aes"
}

// randomHex is what the vendor generates: 32 hexadecimal digits. Identifiers are like
// it.
func randomHex() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// randomName is randomHex with a letter first.
func randomName() string { return "k" + randomHex()[1:] }

// randomText has letters and digits, of which one is worth almost 6 bits: as much as
// fits into n characters.
func randomText(n int) string {
	const set = letters + digits
	var text strings.Builder
	for b := make([]byte, 1); text.Len() < n; {
		_, _ = rand.Read(b)                            // it never fails
		if i := int(b[0]); i < 256/len(set)*len(set) { // or some would come more often
			text.WriteByte(set[i%len(set)])
		}
	}
	return text.String()
}
