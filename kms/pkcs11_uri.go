package kms

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// pkcs11Attributes are those of RFC 7512 that name a key, as messages list them.
const pkcs11Attributes = "object, id, token, serial, manufacturer, model, type=private"

// pkcs11Reserved are the characters that RFC 7512 lets stand for themselves in
// the value of an attribute, besides letters, digits and "-._~".
const pkcs11Reserved = ":[]@!$'()*+,=&"

// parsePKCS11 reads a PKCS#11 URI (RFC 7512). It is stricter than the standard:
// an attribute that could not be obeyed is refused instead of ignored, and so
// are all that tell how to load a module or log in, which is the helper's to
// know. Errors never repeat a value.
func parsePKCS11(uri string) (pkcs11api.Selector, error) {
	var s pkcs11api.Selector
	path, query, hasQuery := strings.Cut(strings.TrimPrefix(uri, "pkcs11:"), "?")
	if hasQuery {
		return s, pkcs11Query(query)
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(path, ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return s, fmt.Errorf("key URI has a part without \"=\"; allowed: pkcs11:NAME=VALUE;NAME=VALUE with the names %s", pkcs11Attributes)
		}
		if seen[name] {
			return s, fmt.Errorf("key URI has the attribute %s twice", plain(name))
		}
		seen[name] = true
		octets, err := pkcs11Decode(value)
		if err == nil {
			err = setPKCS11(&s, name, octets)
		}
		if err != nil {
			return s, fmt.Errorf("attribute %s of the key URI: %w", plain(name), err)
		}
	}
	if s.Object == "" && s.ID == "" {
		return s, errors.New("key URI names no key; allowed: object=LABEL, id=%01 or both")
	}
	return s, nil
}

// pkcs11Query says why a query component is refused.
func pkcs11Query(query string) error {
	for part := range strings.SplitSeq(query, "&") {
		switch name, _, _ := strings.Cut(part, "="); name {
		case "pin-value", "pin-source":
			return fmt.Errorf("key URI has %s: the PIN does not belong here, where others read it; "+
				"give it to the helper: sealwright-pkcs11 --pin-file FILE", name)
		case "module-path", "module-name":
			return fmt.Errorf("key URI has %s: the helper loads the module; name it there: sealwright-pkcs11 --module FILE", name)
		}
	}
	return fmt.Errorf("key URI has a query; allowed: none, only the attributes %s", pkcs11Attributes)
}

// Lengths of a token's attributes in bytes, as the standard fixes them, and of a
// key's, as we do.
const (
	maxPKCS11Token  = 32
	maxPKCS11Serial = 16
	maxPKCS11Key    = 255
)

func setPKCS11(s *pkcs11api.Selector, name string, octets []byte) error {
	most, text := maxPKCS11Key, string(octets)
	switch name {
	case "id":
		s.ID = hex.EncodeToString(octets)
	case "object":
		s.Object = text
	case "token":
		s.Token, most = text, maxPKCS11Token
	case "manufacturer":
		s.Manufacturer, most = text, maxPKCS11Token
	case "model":
		s.Model, most = text, maxPKCS11Serial
	case "serial":
		s.Serial, most = text, maxPKCS11Serial
	case "type":
		if text != "private" {
			return errors.New("allowed: private")
		}
	case "pin-value", "pin-source", "module-path", "module-name":
		return pkcs11Query(name)
	default:
		return fmt.Errorf("not supported; allowed: %s", pkcs11Attributes)
	}
	if len(octets) == 0 || len(octets) > most {
		return fmt.Errorf("%d bytes; allowed: 1 to %d", len(octets), most)
	}
	if name == "id" {
		return nil
	}
	if !utf8.Valid(octets) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("not text; allowed: UTF-8 without control characters")
	}
	return nil
}

// pkcs11Decode undoes the percent-encoding of an attribute's value.
func pkcs11Decode(value string) ([]byte, error) {
	var out []byte
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '%':
			if i+2 >= len(value) {
				return nil, errors.New("ends within a percent-encoded octet")
			}
			octet, err := hex.DecodeString(value[i+1 : i+3])
			if err != nil {
				return nil, errors.New("\"%\" is not followed by two hex digits")
			}
			out = append(out, octet...)
			i += 2
		case c < utf8.RuneSelf && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-._~"+pkcs11Reserved, c) >= 0):
			out = append(out, c)
		default:
			return nil, fmt.Errorf("octet %#02x must be percent-encoded as %%%02X", c, c)
		}
	}
	return out, nil
}
