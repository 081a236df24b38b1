package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

// maxNodes bounds how many values one file may stand for, because aliases of
// aliases can make a small file stand for very many.
const maxNodes = 250_000

// A decoder reads YAML nodes into Go values, strictly, and goes on after every
// fault. The yaml package could decode as well, but it would name Go types
// instead of fields and would not know where the values stood.
type decoder struct {
	doc    *document
	faults Errors
	nodes  int
	// reported is whether a fault says that there are too many nodes.
	reported bool
}

// A defaulter fills in what a file may leave out.
type defaulter interface{ setDefaults() }

func (d *decoder) fault(n *yaml.Node, path, problem, allowed string) {
	d.faults = append(d.faults, Fault{d.doc.file, n.Line, n.Column, path, problem, allowed})
}

// decode reads n into v, which is settable and of a type that a configuration
// uses.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	d.doc.marks[path] = mark{n.Line, n.Column}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.full(n, path) {
		return
	}
	if s, ok := v.Addr().Interface().(*policy.Selector); ok {
		d.selector(n, s, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[policy.Timestamps]() && n.Kind == yaml.MappingNode {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line, Column: n.Column, Content: []*yaml.Node{n}}
		}
		d.list(n, v, path)
	case reflect.Map:
		d.table(n, v, path)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), path)
	default:
		d.scalar(n, v, path)
	}
}

// full counts a value and reports, once, that there are too many.
func (d *decoder) full(n *yaml.Node, path string) bool {
	d.nodes++
	if d.nodes > maxNodes && !d.reported {
		d.reported = true
		d.fault(n, path, fmt.Sprintf("is beyond the first %d values", maxNodes), "a smaller file, or fewer aliases")
	}
	return d.reported
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if s, ok := v.Addr().Interface().(defaulter); ok {
		s.setDefaults()
	}
	fields := fieldsOf(v.Type())
	d.entries(n, path, func(key, value *yaml.Node, inner string) {
		i := slices.Index(fields, key.Value)
		if i < 0 || key.Value == "" {
			problem, allowed := unknown(key.Value, fields)
			d.fault(key, inner, problem, allowed)
			return
		}
		d.decode(value, v.Field(i), inner)
		if value.Kind != yaml.ScalarNode {
			d.doc.marks[inner] = mark{key.Line, key.Column} // where the reader looks for it
		}
	})
}

func (d *decoder) table(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(n, path, func(key, value *yaml.Node, inner string) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, item, inner)
		v.SetMapIndex(reflect.ValueOf(key.Value), item)
	})
}

// entries calls yield for every key of a mapping and refuses what is no
// mapping, a key that is no text, and a key that was there before.
func (d *decoder) entries(n *yaml.Node, path string, yield func(key, value *yaml.Node, inner string)) {
	if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
		d.fault(n, path, describe(n), "a mapping")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		inner := place{d.doc, path}.in(key.Value).path
		switch {
		case key.ShortTag() == "!!merge":
			d.fault(key, path, "holds a merge key", "fields written out")
		case key.Kind != yaml.ScalarNode || textProblem(key) != "":
			d.fault(key, path, "holds a key that is not text", "field names")
		case seen[key.Value] > 0:
			d.fault(key, inner, fmt.Sprintf("is given twice, first at line %d", seen[key.Value]), "each field once")
		default:
			seen[key.Value] = key.Line
			yield(key, n.Content[i+1], inner)
		}
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		d.fault(n, path, describe(n), "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) selector(n *yaml.Node, s *policy.Selector, path string) {
	d.markInside(n, path)
	if d.nodes > maxNodes {
		d.full(n, path)
		return
	}
	for _, f := range nodeFaults(s.UnmarshalYAML(n)) {
		at := &yaml.Node{Line: f.Line, Column: f.Column}
		d.fault(at, place{d.doc, path}.in(f.Field).path, f.Problem, f.Allowed)
	}
}

// markInside counts the patterns of a selector and remembers where they stand.
func (d *decoder) markInside(n *yaml.Node, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes += len(n.Content); d.nodes > maxNodes {
		return
	}
	for i, c := range n.Content {
		inner := fmt.Sprintf("%s[%d]", path, i)
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			inner = place{d.doc, path}.in(n.Content[i-1].Value).path
		}
		d.doc.marks[inner] = mark{c.Line, c.Column}
		if n.Kind == yaml.MappingNode {
			d.markInside(c, inner)
		}
	}
}

// nodeFaults takes joined errors apart.
func nodeFaults(err error) []policy.NodeFault {
	switch e := err.(type) { //nolint:errorlint // UnmarshalYAML joins NodeFaults and wraps nothing.
	case nil:
		return nil
	case policy.NodeFault:
		return []policy.NodeFault{e}
	case interface{ Unwrap() []error }:
		var all []policy.NodeFault
		for _, inner := range e.Unwrap() {
			all = append(all, nodeFaults(inner)...)
		}
		return all
	}
	return []policy.NodeFault{{Fault: policy.Fault{Problem: err.Error()}}}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if problem := textProblem(n); problem != "" {
			d.fault(n, path, problem, "text")
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.fault(n, path, describe(n), "true, false")
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.ParseInt(n.Value, 10, strconv.IntSize)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.fault(n, path, describe(n), "a whole number")
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" || err != nil {
			d.fault(n, path, describe(n), "a number")
			return
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("configuration field %s has the unsupported type %s", path, v.Type()))
	}
}

// textProblem says why a node is not taken as text. Numbers and dates are, as
// they are written: a tag 1.10 must not become 1.1.
func textProblem(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && slices.Contains([]string{"!!str", "!!int", "!!float", "!!timestamp"}, n.ShortTag()) {
		return ""
	}
	return describe(n)
}

// describe says what a node is, without its text, which may be a secret.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "is a mapping"
	case yaml.SequenceNode:
		return "is a list"
	}
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "has no value"
	case "!!bool":
		return "is the truth value " + n.Value
	case "!!int", "!!float":
		return "is the number " + n.Value
	case "!!str", "!!timestamp":
		return "is text"
	default:
		return "has the YAML tag " + tag
	}
}
