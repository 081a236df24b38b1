// Package strictjson reads JSON that others sent, where it must not be possible
// to understand it in two ways. It imports nothing of ours.
//
// The rules are those of encoding/json/v2: UTF-8 without lone surrogates, no name
// twice in an object, at whatever depth, and nothing after the value. Names are
// told apart by case. Errors are short and repeat nothing of the text but a name,
// so that a dialect can show them as they are, or say the same in its own words.
package strictjson

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What a text may be at most. Its size is for the caller to bound.
const (
	MaxDepth   = 32      // objects and lists within each other, for Parse
	MaxValues  = 200_000 // for Parse
	MaxMembers = 64      // for Members: looking for names alike stays cheap
)

// An Error is what is wrong with a text, unless it is a NameError.
type Error string

func (e Error) Error() string { return string(e) }

// All there are.
var (
	ErrEmpty    = Error("empty")
	ErrUTF8     = Error("not UTF-8")
	ErrSyntax   = Error("not JSON")
	ErrNoObject = Error("not a JSON object")
	ErrTrailing = Error("something follows the JSON value")
	ErrDepth    = Error(fmt.Sprintf("nested more than %d levels deep", MaxDepth))
	ErrValues   = Error(fmt.Sprintf("more than %d values", MaxValues))
	ErrMembers  = Error(fmt.Sprintf("more than %d members", MaxMembers))
)

// A NameError says that an object has two members of a name.
type NameError struct {
	Name string // the second, unescaped, as long as it was sent
}

func (e *NameError) Error() string { return fmt.Sprintf("member %.40q twice", e.Name) }

// Parse reads a value as nil, string, json.Number, bool, []any and map[string]any.
func Parse(text []byte) (any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, ErrEmpty
	}
	values := 0
	hook := json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
		if values++; values > MaxValues {
			return ErrValues
		}
		switch d.PeekKind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			if d.StackDepth() == MaxDepth {
				return ErrDepth
			}
		case jsontext.KindNumber:
			number, err := d.ReadToken()
			*v = stdjson.Number(number.String())
			return err
		}
		return errors.ErrUnsupported // the rest is as it always is
	})
	var v any
	err := read(text, func(d *jsontext.Decoder) error {
		return json.UnmarshalDecode(d, &v, json.WithUnmarshalers(hook))
	})
	return v, err
}

// A Member is a member of an object.
type Member struct {
	Name  string             // unescaped
	Value stdjson.RawMessage // as it was sent, in the memory of the text
}

// Members reads an object whose members keep their order and bytes. Names that
// are the same but for case are refused too: readers differ in which they use.
func Members(text []byte) ([]Member, error) {
	var members []Member
	err := read(text, func(d *jsontext.Decoder) error {
		if d.PeekKind() != jsontext.KindBeginObject {
			return ErrNoObject
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		for d.PeekKind() == jsontext.KindString {
			m, err := readMember(d, text)
			switch {
			case err != nil:
				return err
			case len(members) == MaxMembers:
				return ErrMembers
			case slices.ContainsFunc(members, func(have Member) bool { return strings.EqualFold(have.Name, m.Name) }):
				return &NameError{m.Name}
			}
			members = append(members, m)
		}
		_, err := d.ReadToken()
		return err
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

func readMember(d *jsontext.Decoder, text []byte) (Member, error) {
	token, err := d.ReadToken()
	if err != nil {
		return Member{}, err
	}
	m := Member{Name: token.String()}
	value, err := d.ReadValue()
	end := int(d.InputOffset())
	m.Value = stdjson.RawMessage(text[end-len(value) : end : end])
	return m, err
}

// Encode writes members that were read, without touching the bytes of their values.
func Encode(members []Member) []byte {
	out := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		name, _ := stdjson.Marshal(m.Name) // a string always can be
		out = append(append(append(out, name...), ':'), m.Value...)
	}
	return append(out, '}')
}

// read reads a value, and sees to it that it is the only one.
func read(text []byte, value func(*jsontext.Decoder) error) error {
	if !utf8.Valid(text) {
		return ErrUTF8
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	if err := value(d); err != nil {
		return plain(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return ErrTrailing
	}
	return nil
}

// plain makes an error of the library, which repeats the text, one of ours.
func plain(err error) error {
	if ours, ok := errors.AsType[Error](err); ok {
		return ours
	}
	if twice, ok := errors.AsType[*NameError](err); ok {
		return twice
	}
	if at, ok := errors.AsType[*jsontext.SyntacticError](err); ok && errors.Is(err, jsontext.ErrDuplicateName) {
		return &NameError{at.JSONPointer.LastToken()}
	}
	return ErrSyntax
}
