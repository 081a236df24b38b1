package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// SelectorAllowed says how a selector is written, for error messages.
const SelectorAllowed = `a pattern ("**" for all), a list of patterns, or {matches: [...], excludes: [...]}`

// A Selector decides on one string by doublestar patterns: it selects what any
// pattern of Matches matches (all, when Matches is empty) and no pattern of
// Excludes matches.
//
// In YAML and JSON a plain string stands for one Matches pattern, and a list of
// strings for several; a mapping names matches and excludes, each a string or a
// list. What is written out is the shortest of these forms.
type Selector struct {
	Matches  []string `yaml:"matches,omitempty" json:"matches,omitempty"`
	Excludes []string `yaml:"excludes,omitempty" json:"excludes,omitempty"`
}

// IsZero reports whether the selector is unset.
func (s Selector) IsZero() bool { return len(s.Matches) == 0 && len(s.Excludes) == 0 }

// A NodeFault is a fault found while decoding a YAML node, with its place in
// the file, counted from 1. Field is relative to the decoded value, and empty
// for the value itself.
type NodeFault struct {
	Fault
	Line, Column int
}

// Error puts the line first.
func (f NodeFault) Error() string { return fmt.Sprintf("line %d: %s", f.Line, f.Fault.Error()) }

// UnmarshalYAML reads any of the forms of a Selector. What is wrong is returned
// as NodeFaults, joined when there are several.
func (s *Selector) UnmarshalYAML(node *yaml.Node) error {
	var faults []error
	add := func(n *yaml.Node, field, problem, allowed string) {
		faults = append(faults, NodeFault{Fault{field, problem, allowed}, n.Line, n.Column})
	}
	*s = Selector{}
	node = resolveAlias(node)
	if node.Kind != yaml.MappingNode {
		s.Matches = decodePatterns(node, "", add)
		return errors.Join(faults...)
	}
	if len(node.Content) == 0 {
		add(node, "", "is empty", SelectorAllowed)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolveAlias(node.Content[i+1])
		name := key.Value
		if line, twice := seen[name]; twice {
			add(key, name, fmt.Sprintf("is given twice, first at line %d", line), "each field once")
			continue
		}
		seen[name] = key.Line
		switch name {
		case "matches":
			s.Matches = decodePatterns(value, name, add)
		case "excludes":
			s.Excludes = decodePatterns(value, name, add)
		default:
			add(key, name, "is not a field of a selector", "matches, excludes")
		}
	}
	return errors.Join(faults...)
}

func resolveAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// decodePatterns reads one pattern or a list of them. Numbers and dates are
// taken as they are written, so that 1.10 stays "1.10".
func decodePatterns(n *yaml.Node, field string, add func(n *yaml.Node, field, problem, allowed string)) []string {
	if n.Kind != yaml.SequenceNode {
		if problem := patternNodeProblem(n); problem != "" {
			add(n, field, problem, SelectorAllowed)
			return nil
		}
		return []string{n.Value}
	}
	if len(n.Content) == 0 {
		add(n, field, "is an empty list", SelectorAllowed)
	}
	var patterns []string
	for i, item := range n.Content {
		item = resolveAlias(item)
		if problem := patternNodeProblem(item); problem != "" {
			add(item, fmt.Sprintf("%s[%d]", field, i), problem, PatternAllowed)
		}
		patterns = append(patterns, item.Value)
	}
	return patterns
}

func patternNodeProblem(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return "is not a pattern"
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!int", "!!float", "!!timestamp":
		return ""
	case "!!null":
		return "has no value"
	case "!!bool":
		return fmt.Sprintf("is the truth value %s; quote it if a pattern is meant", n.Value)
	default:
		return "has the YAML tag " + tag
	}
}

// MarshalYAML writes the shortest form.
func (s Selector) MarshalYAML() (any, error) { return s.shortest(), nil }

// MarshalJSON writes the shortest form.
func (s Selector) MarshalJSON() ([]byte, error) { return json.Marshal(s.shortest()) }

func (s Selector) shortest() any {
	type plain Selector // without the methods, or encoding would not end
	switch {
	case len(s.Excludes) > 0 || len(s.Matches) == 0:
		return plain(s)
	case len(s.Matches) == 1:
		return s.Matches[0]
	}
	return s.Matches
}

// UnmarshalJSON reads any of the forms of a Selector, refusing unknown fields
// and null.
func (s *Selector) UnmarshalJSON(data []byte) error {
	var fields struct {
		Matches  patternList `json:"matches"`
		Excludes patternList `json:"excludes"`
	}
	*s = Selector{}
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] != '{' {
		err := fields.Matches.UnmarshalJSON(data)
		s.Matches = fields.Matches
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&fields); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading a selector (%s): %w", SelectorAllowed, err)
	}
	*s = Selector{Matches: fields.Matches, Excludes: fields.Excludes}
	if s.IsZero() {
		return fmt.Errorf("a selector is empty; allowed: %s", SelectorAllowed)
	}
	return nil
}

// patternList is a list of patterns that may be written as one string.
type patternList []string

// UnmarshalJSON reads a string or a list of strings that is not empty.
func (l *patternList) UnmarshalJSON(data []byte) error {
	var one *string
	if err := json.Unmarshal(data, &one); err == nil && one != nil {
		*l = patternList{*one}
		return nil
	}
	var many []*string
	if err := json.Unmarshal(data, &many); err != nil || len(many) == 0 {
		return fmt.Errorf("a selector is neither a pattern nor a list of patterns; allowed: %s", SelectorAllowed)
	}
	*l = make(patternList, len(many))
	for i, p := range many {
		if p == nil {
			return fmt.Errorf("pattern %d of a selector is null; allowed: %s", i, PatternAllowed)
		}
		(*l)[i] = *p
	}
	return nil
}
