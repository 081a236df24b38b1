// Package message builds and reads what Oracle's container image signatures sign: a
// compact JSON text of eight members, which travels as base64.
//
// The OCI CLI makes it ("oci artifacts container image-signature sign-upload"), has a
// vault sign the text that the base64 stands for, and uploads both. Whoever verifies
// must use the base64 as it was uploaded, and not build the text again: others escape
// characters in another way.
package message

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxSize is how long the text may be, in bytes: a vault signs no more.
const MaxSize = 4096

// A Message says what a signature is about.
type Message struct {
	Description string
	// ImageDigest is like sha256:….
	ImageDigest     string
	KMSKeyID        string
	KMSKeyVersionID string
	// Metadata is empty or a JSON object as text.
	Metadata string
	// Region is a name like us-phoenix-1.
	Region string
	// RepositoryName is without a tenancy's namespace.
	RepositoryName string
	// SigningAlgorithm is like SHA_256_RSA_PKCS_PSS.
	SigningAlgorithm string
}

// ErrMalformed is wrapped by errors about a text that is not such a message.
var ErrMalformed = errors.New("not a message of a container image signature")

// A member is a name in the text, and its value.
type member struct {
	name  string
	value *string
}

// members are those of the text, in their order.
func (m *Message) members() []member {
	return []member{
		{"description", &m.Description},
		{"imageDigest", &m.ImageDigest},
		{"kmsKeyId", &m.KMSKeyID},
		{"kmsKeyVersionId", &m.KMSKeyVersionID},
		{"metadata", &m.Metadata},
		{"region", &m.Region},
		{"repositoryName", &m.RepositoryName},
		{"signingAlgorithm", &m.SigningAlgorithm},
	}
}

// Build returns the text that is signed, byte for byte as the OCI CLI writes it, and
// its base64, which is uploaded.
func (m Message) Build() (signed []byte, uploaded string, err error) {
	var text strings.Builder
	for i, each := range m.members() {
		if !utf8.ValidString(*each.value) {
			return nil, "", fmt.Errorf("%w: %s is not UTF-8", ErrMalformed, each.name)
		}
		if i == 0 {
			text.WriteByte('{')
		} else {
			text.WriteByte(',')
		}
		writeString(&text, each.name)
		text.WriteByte(':')
		writeString(&text, *each.value)
	}
	text.WriteByte('}')
	if text.Len() > MaxSize {
		return nil, "", fmt.Errorf("%w: it has %d bytes; allowed: at most %d", ErrMalformed, text.Len(), MaxSize)
	}
	signed = []byte(text.String())
	return signed, base64.StdEncoding.EncodeToString(signed), nil
}

// writeString writes a string as Python's json.dumps does.
func writeString(to *strings.Builder, s string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	to.WriteByte('"')
	for _, r := range s {
		switch {
		case short[r] != "":
			to.WriteString(short[r])
		case r >= ' ' && r <= '~':
			to.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(to, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(to, `\u%04x\u%04x`, high, low)
		}
	}
	to.WriteByte('"')
}

// Parse reads an uploaded message, and returns also the text that is signed. The text
// has exactly the eight members, all of them strings, in their order and without
// blanks between them; characters may be escaped in any way.
func Parse(uploaded string) (Message, []byte, error) {
	if base64.StdEncoding.DecodedLen(len(uploaded)) > MaxSize+2 {
		return Message{}, nil, fmt.Errorf("%w: it is too long; allowed: at most %d bytes before base64", ErrMalformed, MaxSize)
	}
	signed, err := base64.StdEncoding.Strict().DecodeString(uploaded)
	if err != nil || strings.ContainsAny(uploaded, "\r\n") {
		return Message{}, nil, fmt.Errorf("%w: it is not standard base64 with padding", ErrMalformed)
	}
	if len(signed) > MaxSize {
		return Message{}, nil, fmt.Errorf("%w: it has %d bytes; allowed: at most %d", ErrMalformed, len(signed), MaxSize)
	}
	var compact bytes.Buffer
	if !utf8.Valid(signed) || json.Compact(&compact, signed) != nil || !bytes.Equal(compact.Bytes(), signed) {
		return Message{}, nil, fmt.Errorf("%w: it is not compact JSON", ErrMalformed)
	}
	m, err := parseText(signed)
	if err != nil {
		return Message{}, nil, err
	}
	return m, signed, nil
}

func parseText(text []byte) (Message, error) {
	var m Message
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return Message{}, fmt.Errorf("%w: it is not a JSON object", ErrMalformed)
	}
	for _, each := range m.members() {
		if name, err := d.Token(); err != nil || name != each.name {
			return Message{}, fmt.Errorf("%w: it does not have %s in its place; allowed: %s", ErrMalformed, each.name, order())
		}
		token, err := d.Token()
		value, ok := token.(string)
		if err != nil || !ok {
			return Message{}, fmt.Errorf("%w: %s is not a string", ErrMalformed, each.name)
		}
		*each.value = value
	}
	if token, err := d.Token(); err != nil || token != json.Delim('}') {
		return Message{}, fmt.Errorf("%w: it has more members; allowed: %s", ErrMalformed, order())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Message{}, fmt.Errorf("%w: something follows the JSON object", ErrMalformed)
	}
	return m, nil
}

// order names the members.
func order() string {
	var names []string
	for _, each := range new(Message).members() {
		names = append(names, each.name)
	}
	return strings.Join(names, ", ")
}
