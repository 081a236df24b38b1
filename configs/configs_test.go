package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exampleFiles returns every YAML file under examples.
func exampleFiles(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"examples/*.yaml", "examples/*/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, paths...)
	}
	if len(all) < 5 {
		t.Fatalf("only %d examples", len(all))
	}
	return all
}

func TestExamplesLoad(t *testing.T) {
	warnings := map[string]string{} // none of the examples should have any, but for these
	for _, path := range exampleFiles(t) {
		if strings.Contains(path, ".d/") {
			continue // loaded by policy-files.yaml
		}
		c, err := Load(path)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, w := range c.Warnings() {
			if w.Error() != warnings[path] {
				t.Errorf("warning %v", w)
			}
		}
		if len(c.Policies) == 0 {
			t.Errorf("%s holds no policy", path)
		}
	}
}

// TestExampleOfEachKind proves that registries.yaml shows each kind, once.
func TestExampleOfEachKind(t *testing.T) {
	c, err := Load("examples/registries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[Kind]int{}
	for _, r := range c.Registries {
		shown[r.Kind]++
	}
	for _, kind := range kinds() {
		if shown[kind] != 1 {
			t.Errorf("%d registries of kind %s, want one", shown[kind], kind)
		}
	}
}

// TestBad loads one file per mistake. The message that each must give, and
// nothing else, stands in its first lines, after "# want: ".
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(paths) < 40 {
		t.Fatalf("only %d bad files: %v", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if w, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: "); ok {
					want = append(want, strings.ReplaceAll(w, "FILE:", path+":"))
				}
			}
			_, err = Load(path)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := err.Error(); got != strings.Join(want, "\n") || len(want) == 0 {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}
