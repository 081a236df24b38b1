package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// TestRefuses: what can be understood in two ways, or is too much, is refused by its
// reason. An empty reason passes.
func TestRefuses(t *testing.T) {
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat("1,", n), ",") }
	for _, tt := range []struct{ text, value, object string }{
		{"", "empty", "not a JSON object"},
		{" \n", "empty", "not a JSON object"},
		{"{\"a\":\"\xff\"}", "not UTF-8", "not UTF-8"},
		{"\xef\xbb\xbf{}", "not JSON", "not a JSON object"},
		{`{"a":"\ud800"}`, "not JSON", "not JSON"},
		{"{", "not JSON", "not JSON"},
		{`{"a":1,}`, "not JSON", "not JSON"},
		{`{"a":01}`, "not JSON", "not JSON"},
		{`{"a":NaN}`, "not JSON", "not JSON"},
		{`{a:1}`, "not JSON", "not JSON"},
		{`{"a":1]`, "not JSON", "not JSON"},
		{`null`, "", "not a JSON object"},
		{`[{}]`, "", "not a JSON object"},
		{`{}{}`, "something follows the JSON value", "something follows the JSON value"},
		{`{}x`, "something follows the JSON value", "something follows the JSON value"},
		{"{}\x00", "something follows the JSON value", "something follows the JSON value"},
		{" {} \n", "", ""},
		{`{"a":1,"a":1}`, `member "a" twice`, `member "a" twice`},
		{`{"a/~b":1,"\u0061/~b":1}`, `member "a/~b" twice`, `member "a/~b" twice`},
		{`{"x":[{"a":1,"a":1}]}`, `member "a" twice`, `member "a" twice`},
		{`{"a":1,"A":1}`, "", `member "A" twice`},
		{`{"k":1,"` + "\u212a" + `":1}`, "", "member \"\u212a\" twice"}, // KELVIN SIGN
		{`{"` + strings.Repeat("a", 99) + `":1,"` + strings.Repeat("a", 99) + `":1}`, `member "` + strings.Repeat("a", 40) + `" twice`, `member "` + strings.Repeat("a", 40) + `" twice`},
		{nested(MaxDepth), "", "not a JSON object"},
		{nested(MaxDepth + 1), "nested more than 32 levels deep", "not a JSON object"},
		{nested(1 << 20), "nested more than 32 levels deep", "not a JSON object"},
		{`{"a":` + nested(1<<20) + `}`, "nested more than 32 levels deep", "not JSON"},
		{"[" + many(MaxValues-1) + "]", "", "not a JSON object"},
		{"[" + many(MaxValues) + "]", "more than 200000 values", "not a JSON object"},
		{object(MaxMembers), "", ""},
		{object(MaxMembers + 1), "", "more than 64 members"},
	} {
		if _, err := Parse([]byte(tt.text)); text(err) != tt.value {
			t.Errorf("%.60q: %v, want %q", tt.text, err, tt.value)
		}
		if got, err := Members([]byte(tt.text)); text(err) != tt.object || err != nil && got != nil {
			t.Errorf("members of %.60q: %v, %v; want %q", tt.text, got, err, tt.object)
		}
	}
}

// object returns an object of n members.
func object(n int) string {
	var members []string
	for i := range n {
		members = append(members, `"`+strings.Repeat("a", i)+`":1`)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestMembers: order and bytes are kept, and appending to a value harms no other.
func TestMembers(t *testing.T) {
	sent := []byte(` { "b" : {"x": 1.50} , "\u0061":[ 1 ], "c":"\u0041"}`)
	got, err := Members(sent)
	want := []Member{{"b", json.RawMessage(`{"x": 1.50}`)}, {"a", json.RawMessage(`[ 1 ]`)}, {"c", json.RawMessage(`"\u0041"`)}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	before := bytes.Clone(sent)
	for _, m := range got {
		_ = append(m.Value, "overwritten"...)
	}
	if !bytes.Equal(sent, before) {
		t.Errorf("%s", sent)
	}
	if got, want := string(Encode(got)), `{"b":{"x": 1.50},"a":[ 1 ],"c":"\u0041"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(Encode(nil)); got != "{}" {
		t.Error(got)
	}
}

// FuzzParse: what is taken means the same to encoding/json, and what is refused as
// no JSON is none to it either, but for lone surrogates, which it replaces.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-0.5e+9,true,null,"x\n"],"b":{"A":{}}}`, `{"a":1,"\u0061":1}`, `{"a":1,"A":[{"x":1,"x":2}]}`, `{}{}`, `"\ud800\udc00"`, `"\ud800"`, "\xff", "[", nested(33), " "} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		text := slices.Clone(sent)
		v, err := Parse(text)
		want, other := standard(sent)
		switch {
		case err == nil && (other != nil || !cmp.Equal(v, want)):
			t.Errorf("%v; encoding/json: %v, %v", v, want, other)
		case errors.Is(err, ErrSyntax) && other == nil && !bytes.Contains(bytes.ToLower(sent), []byte(`\ud`)):
			t.Errorf("%q is JSON: %v", sent, want)
		}
		members, oerr := Members(text)
		if object, ok := want.(map[string]any); oerr == nil && (!ok || len(object) != len(members)) {
			t.Errorf("members %v of %v", members, want)
		}
		for _, m := range members {
			inner, _ := standard(m.Value)
			if object, _ := want.(map[string]any); !cmp.Equal(inner, object[m.Name]) {
				t.Errorf("%s is %s of %v", m.Name, m.Value, want)
			}
		}
		if !bytes.Equal(text, sent) {
			t.Errorf("%q was changed to %q", sent, text)
		}
	})
}

// standard reads a text, and nothing after it, with encoding/json.
func standard(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more")
	}
	return v, nil
}
