package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// selectorForms are ways to write a selector, in YAML and in JSON.
var selectorForms = []struct {
	name, yaml, json string
	want             Selector
	shortest         string // in JSON
}{
	{"string", `v*`, `"v*"`, Selector{Matches: []string{"v*"}}, `"v*"`},
	{"quoted", `"**"`, `"**"`, Selector{Matches: []string{"**"}}, `"**"`},
	{"empty string", `""`, `""`, Selector{Matches: []string{""}}, `""`}, // for Validate to refuse
	{"list", `[v*, latest]`, `["v*","latest"]`, Selector{Matches: []string{"v*", "latest"}}, `["v*","latest"]`},
	{"list of one", `[v*]`, `["v*"]`, Selector{Matches: []string{"v*"}}, `"v*"`},
	{"matches", `{matches: v*}`, `{"matches":"v*"}`, Selector{Matches: []string{"v*"}}, `"v*"`},
	{"excludes", `{excludes: "*-rc"}`, `{"excludes":"*-rc"}`, Selector{Excludes: []string{"*-rc"}}, `{"excludes":["*-rc"]}`},
	{
		"both", `{matches: [a, b], excludes: [c]}`, `{"matches":["a","b"],"excludes":["c"]}`,
		Selector{Matches: []string{"a", "b"}, Excludes: []string{"c"}}, `{"matches":["a","b"],"excludes":["c"]}`,
	},
}

func TestSelectorForms(t *testing.T) {
	for _, tt := range selectorForms {
		t.Run(tt.name, func(t *testing.T) {
			var fromYAML, fromJSON Selector
			if err := yaml.Unmarshal([]byte(tt.yaml), &fromYAML); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.json), &fromJSON); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fromYAML); diff != "" {
				t.Errorf("from YAML (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, fromJSON); diff != "" {
				t.Errorf("from JSON (-want +got):\n%s", diff)
			}
			written, err := json.Marshal(tt.want)
			if err != nil || string(written) != tt.shortest {
				t.Errorf("written as %s (%v), want %s", written, err, tt.shortest)
			}
			roundTrip(t, tt.want)
		})
	}
}

func roundTrip(t *testing.T, want Selector) {
	t.Helper()
	var again Selector
	text, err := yaml.Marshal(want)
	if err == nil {
		err = yaml.Unmarshal(text, &again)
	}
	if err != nil || !cmp.Equal(want, again) {
		t.Errorf("after YAML %s: %+v (%v), want %+v", text, again, err, want)
	}
}

func TestSelectorKeepsNumbersAsWritten(t *testing.T) {
	var s Selector
	if err := yaml.Unmarshal([]byte(`[1.10, 0x1F, 2024-01-01, 007, yes]`), &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1.10", "0x1F", "2024-01-01", "007", "yes"}, s.Matches); diff != "" {
		t.Errorf("patterns (-want +got):\n%s", diff)
	}
}

func TestSelectorFollowsAnchors(t *testing.T) {
	var r struct{ A, B Selector }
	if err := yaml.Unmarshal([]byte("a: &x {matches: &y [v*]}\nb: {excludes: *y}\n"), &r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Selector{Excludes: []string{"v*"}}, r.B); diff != "" {
		t.Errorf("b (-want +got):\n%s", diff)
	}
}

func TestSelectorRefusesYAML(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "matches: a\nexclude: b\n", "line 2: exclude: is not a field of a selector; allowed: matches, excludes"},
		{"key twice", "matches: a\nmatches: b\n", "line 2: matches: is given twice, first at line 1; allowed: each field once"},
		{"empty mapping", "{}", "line 1: is empty; allowed: " + SelectorAllowed},
		{"empty list", "[]", "line 1: is an empty list; allowed: " + SelectorAllowed},
		{"empty excludes", "matches: a\nexcludes: []\n", "line 2: excludes: is an empty list; allowed: " + SelectorAllowed},
		{"null pattern", "matches: a\nexcludes: ~\n", "line 2: excludes: has no value; allowed: " + SelectorAllowed},
		{"null in a list", "- a\n-\n", "line 2: [1]: has no value; allowed: " + PatternAllowed},
		{"boolean", "matches:\n- true\n", "line 2: matches[0]: is the truth value true; quote it if a pattern is meant; allowed: " + PatternAllowed},
		{"nested list", "- a\n- [b]\n", "line 2: [1]: is not a pattern; allowed: " + PatternAllowed},
		{"mapping as pattern", "matches: {a: b}\n", "line 1: matches: is not a pattern; allowed: " + SelectorAllowed},
		{"binary", "!!binary aGk=", "line 1: has the YAML tag !!binary; allowed: " + SelectorAllowed},
		{"all at once", "match: a\nexcludes: [~, {}]\n", "line 1: match: is not a field of a selector; allowed: matches, excludes\n" +
			"line 2: excludes[0]: has no value; allowed: " + PatternAllowed + "\n" +
			"line 2: excludes[1]: is not a pattern; allowed: " + PatternAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var node yaml.Node
			if err := yaml.Unmarshal([]byte(tt.text), &node); err != nil {
				t.Fatal(err)
			}
			err := new(Selector).UnmarshalYAML(node.Content[0])
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err := yaml.Unmarshal([]byte(tt.text), new(Selector)); err == nil {
				t.Error("accepted by the decoder")
			}
		})
	}
}

func TestSelectorRefusesJSON(t *testing.T) {
	for _, text := range []string{
		`null`, `[]`, `{}`, `true`, `1`, `[1]`, `[null]`, `["a",null]`, `{"matches":[]}`, `{"matches":null}`,
		`{"matches":"a","exclude":"b"}`, `{"matches":{"a":"b"}}`,
	} {
		var s Selector
		if err := json.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s is accepted as %+v", text, s)
		} else if !strings.Contains(err.Error(), "selector") {
			t.Errorf("%s: %q does not say that a selector is wrong", text, err)
		}
	}
}

// FuzzSelectorYAML proves that what is read is written back to the same.
func FuzzSelectorYAML(f *testing.F) {
	for _, tt := range selectorForms {
		f.Add(tt.yaml)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Selector
		if err := yaml.Unmarshal([]byte(text), &s); err == nil && !s.IsZero() {
			roundTrip(t, s)
		}
	})
}
