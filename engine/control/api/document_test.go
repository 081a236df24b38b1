package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"mime"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	core "go.uber.org/zap/zapcore"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
)

type zapcore = core.Core

func sum(token string) [32]byte { return sha256.Sum256([]byte(token)) }

var update = flag.Bool("update", false, "rewrite generated files")

// TestOpenAPI proves that the document in docs is the one that is served.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	served := s.get(t, "/openapi.json")
	var indented bytes.Buffer
	if err := json.Indent(&indented, served.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	file := filepath.Join("..", "..", "..", "docs", "apis", "openapi.json")
	if *update {
		if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(kept), indented.String()); d != "" {
		t.Errorf("docs/apis/openapi.json is out of date; run: go test ./engine/control/api -run ^TestOpenAPI$ -update (-kept +served):\n%s", d)
	}
	for path, methods := range s.doc.paths {
		for method := range methods {
			if len(methods[method].Responses) < 2 {
				t.Errorf("%s %s has no answer for success, or none for problems", method, path)
			}
		}
	}
}

// check fails the test if an answer does not follow the document.
func (d *document) check(t testing.TB, method, path string, a answer) {
	t.Helper()
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	template, known := d.template(path)
	operation, has := d.paths[template][strings.ToLower(method)]
	if err != nil || !known || !has || kind == "application/openapi+json" || kind == "text/event-stream" {
		return
	}
	status := strconv.Itoa(a.status)
	if _, told := operation.Responses[status]; !told {
		status = "default"
	}
	if _, told := operation.Responses[status].Content[kind]; !told {
		t.Errorf("%s %s: status %d with %s is not in the document", method, template, a.status, kind)
		return
	}
	pointer := "#/paths/" + escape(template) + "/" + strings.ToLower(method) + "/responses/" + status + "/content/" + escape(kind) + "/schema"
	schema := d.schema(t, pointer)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		t.Errorf("%s %s: the answer does not follow the document: %v\n%s", method, template, err, a.body)
	}
}

func (d *document) schema(t testing.TB, pointer string) *jsonschema.Schema {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.schemas[pointer] == nil {
		schema, err := d.compiler.Compile(documentURL + pointer)
		if err != nil {
			t.Fatal(err)
		}
		d.schemas[pointer] = schema
	}
	return d.schemas[pointer]
}

func escape(part string) string {
	part = strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
	return strings.NewReplacer("{", "%7B", "}", "%7D", "+", "%2B").Replace(part)
}

// template returns the path of the document that a path is of.
func (d *document) template(path string) (string, bool) {
	path, _, _ = strings.Cut(api.Prefix+path, "?")
	parts := strings.Split(path, "/")
	for template := range d.paths {
		want := strings.Split(template, "/")
		same := len(want) == len(parts)
		for i := 0; same && i < len(want); i++ {
			same = want[i] == parts[i] || strings.HasPrefix(want[i], "{") && parts[i] != ""
		}
		if same {
			return template, true
		}
	}
	return "", false
}

// TestEveryOperationIsDocumented: the document for people has the operations that
// there are, and no others.
func TestEveryOperationIsDocumented(t *testing.T) {
	t.Parallel()
	s := open(t, controltest.Options{})
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "apis", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{"GET /openapi.json": false}
	for path, methods := range s.doc.paths {
		for method := range methods {
			documented[strings.ToUpper(method)+" "+strings.TrimPrefix(path, api.Prefix)] = false
		}
	}
	for line := range strings.Lines(string(text)) {
		name, _, row := strings.Cut(strings.TrimPrefix(line, "| `"), "` |")
		if !row || !strings.HasPrefix(line, "| `") {
			continue
		}
		if twice, known := documented[name]; !known || twice {
			t.Errorf("%s is documented, twice: %v", name, twice)
		}
		documented[name] = true
	}
	for name, told := range documented {
		if !told {
			t.Errorf("%s is not documented", name)
		}
	}
}
