package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

// toComplete stands in an imported policy for what the vendor's answer does
// not say. It names nothing that exists, so that a policy which is not completed
// cannot sign anything.
const toComplete = "to-complete"

// An importer turns vendor policies into native ones.
type importer struct {
	faults Errors // why nothing is imported
	notes  []Fault
	names  map[string]bool
	items  []imported
}

type imported struct {
	policy   policy.Policy
	comments []string
}

// fault refuses the import; note tells about what was imported.
func (m *importer) fault(field, problem, allowed string) {
	m.faults = append(m.faults, Fault{Field: field, Problem: problem, Allowed: allowed})
}

func (m *importer) note(field, problem string) {
	m.notes = append(m.notes, Fault{Field: field, Problem: problem})
}

// readJSON reads one JSON value of at most MaxFile bytes.
func readJSON(r io.Reader) (json.RawMessage, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the vendor's policies: %w", err)
	case len(data) > MaxFile:
		return nil, Errors{{Problem: "is larger than 4 MiB", Allowed: "at most 4194304 bytes"}}
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		f := Fault{Problem: "is not JSON: " + err.Error()}
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			f.Line = 1 + bytes.Count(data[:min(int(e.Offset), len(data))], []byte("\n"))
		}
		return nil, Errors{f}
	}
	return raw, nil
}

// object decodes a JSON object into the struct that to points to. It notes the
// fields that the struct does not have and reports what has the wrong type.
func (m *importer) object(raw json.RawMessage, field string, to any, known ...string) bool {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		m.fault(field, "is not an object", "")
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			m.note(joinField(field, name), "is unknown and was ignored")
			delete(fields, name) // the json package would take it in another case
		}
	}
	exact, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(exact, to)
	}
	if err != nil {
		problem := err.Error()
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			field, problem = joinField(field, e.Field), "is a JSON "+e.Value
		}
		m.fault(field, problem, "the type that the vendor documents")
		return false
	}
	return true
}

func joinField(field, name string) string { return place{path: field}.in(name).path }

var notNameRE = regexp.MustCompile(`[^A-Za-z0-9._ -]+`)

// name returns a valid and new policy name as near to the vendor's as possible.
func (m *importer) name(field, vendor, fallback string) string {
	name := vendor
	if !policy.ValidName(name) {
		name = notNameRE.ReplaceAllString(name, "-")
		name = strings.Trim(name[:min(len(name), 120)], "._- ")
	}
	if name == "" {
		name = fallback
	}
	base := name
	for i := 2; m.names[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	if m.names == nil {
		m.names = map[string]bool{}
	}
	m.names[name] = true
	if name != vendor {
		m.note(field, fmt.Sprintf("%s is called %s", quote(vendor), quote(name)))
	}
	return name
}

// add takes a finished policy over, unless it is not valid.
func (m *importer) add(field string, p policy.Policy, comments ...string) {
	for _, f := range p.Validate() {
		m.fault(field, "cannot be imported: "+f.Error(), "")
	}
	m.items = append(m.items, imported{p, comments})
}

// finish writes the policies as YAML.
func (m *importer) finish(origin string) ([]byte, []Fault, error) {
	if len(m.faults) > 0 {
		return nil, nil, m.faults
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range m.items {
		n := &yaml.Node{}
		if err := n.Encode(&item.policy); err != nil {
			return nil, nil, fmt.Errorf("writing policy %q as YAML: %w", item.policy.Name, err)
		}
		n.HeadComment = strings.Join(item.comments, "\n")
		list.Content = append(list.Content, n)
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "policies"}, list}}
	if len(list.Content) == 0 {
		list.Style = yaml.FlowStyle
	}
	text, err := yaml.Dump(root)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the policies as YAML: %w", err)
	}
	header := "# Imported from " + origin + ".\n" +
		"# The registries and keys that are named here must be declared in the main file,\n" +
		"# under these names, or for a key under this alias.\n"
	return append([]byte(header), text...), m.notes, nil
}

// spelt spells false out and leaves true, the default, away.
func spelt(enabled bool) *bool {
	if enabled {
		return nil
	}
	return &enabled
}
