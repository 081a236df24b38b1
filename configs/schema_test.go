package configs

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	generator "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/sealwright/sealwright/engine/policy"
)

var update = flag.Bool("update", false, "rewrite generated files")

// TestSchema proves that the checked-in schema is that of the types.
func TestSchema(t *testing.T) {
	want := generateSchema(t)
	if *update {
		if err := os.WriteFile("sealwright.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(Schema())); diff != "" {
		t.Errorf("sealwright.schema.json is out of date; run: go generate ./configs (-want +got):\n%s", diff)
	}
}

func generateSchema(t *testing.T) []byte {
	t.Helper()
	const module = "github.com/sealwright/sealwright"
	r := &generator.Reflector{FieldNameTag: "yaml", Anonymous: true, Mapper: wordSchema}
	for _, directory := range []string{".", "../engine/policy"} {
		if err := r.AddGoComments(module+"/configs", directory); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(&Config{})
	s.ID = "https://github.com/sealwright/sealwright/configs/sealwright.schema.json"
	s.Title = "Sealwright configuration"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// wordSchema gives the types that have a few allowed values, or several forms.
func wordSchema(t reflect.Type) *generator.Schema {
	words := map[reflect.Type][]string{
		reflect.TypeFor[Kind]():               strings.Split(join(kinds()), ", "),
		reflect.TypeFor[StoreKind]():          strings.Split(join(storeKinds()), ", "),
		reflect.TypeFor[EventSource]():        strings.Split(join(eventSources()), ", "),
		reflect.TypeFor[Role]():               strings.Split(join(roles()), ", "),
		reflect.TypeFor[SinkKind]():           strings.Split(join(sinkKinds()), ", "),
		reflect.TypeFor[policy.TriggerType](): policy.TriggerTypes,
		reflect.TypeFor[policy.IndexMode]():   policy.IndexModes,
		reflect.TypeFor[policy.Format]():      policy.Formats,
		reflect.TypeFor[policy.Algorithm]():   policy.Algorithms,
	}
	if t == reflect.TypeFor[policy.Timestamps]() {
		return timestampSchema()
	}
	if t == reflect.TypeFor[policy.Selector]() {
		return selectorSchema()
	}
	if words[t] == nil {
		return nil
	}
	s := &generator.Schema{Type: "string"}
	for _, w := range words[t] {
		s.Enum = append(s.Enum, w)
	}
	return s
}

func timestampSchema() *generator.Schema {
	fields := generator.NewProperties()
	fields.Set("url", &generator.Schema{Type: "string"})
	fields.Set("ca", &generator.Schema{Type: "string"})
	one := &generator.Schema{Type: "object", Properties: fields, Required: []string{"url", "ca"}, AdditionalProperties: generator.FalseSchema}
	return &generator.Schema{OneOf: []*generator.Schema{one, {Type: "array", Items: one}}}
}

func selectorSchema() *generator.Schema {
	one, length := uint64(1), uint64(policy.MaxPattern)
	pattern := &generator.Schema{Type: "string", MinLength: &one, MaxLength: &length}
	patterns := &generator.Schema{Type: "array", Items: pattern, MinItems: &one}
	either := &generator.Schema{OneOf: []*generator.Schema{pattern, patterns}}
	fields := generator.NewProperties()
	fields.Set("matches", either)
	fields.Set("excludes", either)
	return &generator.Schema{
		OneOf: []*generator.Schema{pattern, patterns, {
			Type: "object", Properties: fields, AdditionalProperties: generator.FalseSchema, MinProperties: &one,
		}},
	}
}

// compileSchema compiles the checked-in schema with an independent library.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validateYAML asks the schema about a YAML file.
func validateYAML(t *testing.T, s *jsonschema.Schema, path string) error {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var content any
	if err := yaml.Unmarshal(text, &content); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

func TestExamplesFollowTheSchema(t *testing.T) {
	s := compileSchema(t)
	for _, path := range exampleFiles(t) {
		if err := validateYAML(t, s, path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestSchemaRefuses proves that the schema has teeth: what concerns names and
// shapes alone is refused by it, too.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	for _, name := range []string{
		"unknown-key", "unknown-registry-key", "unknown-selector-key", "secret-inline", "missing-name", "missing-scope",
		"wrong-type-list", "wrong-type-bool", "limits-low", "limits-high", "concurrency-high", "unknown-kind",
		"unknown-algorithm", "unknown-trigger", "unknown-index", "unknown-format", "pin-malformed", "empty-pattern", "empty-selector",
	} {
		if err := validateYAML(t, s, filepath.Join("testdata", "bad", name+".yaml")); err == nil {
			t.Errorf("%s.yaml follows the schema", name)
		}
	}
}
