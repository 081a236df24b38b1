package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatsHaveTests: each test that the threat model of the control plane names is in
// the package that it is said to be in.
func TestThreatsHaveTests(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(doc), "\n## The control plane\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows, named := 0, regexp.MustCompile("([a-z/, ]*)`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || strings.HasPrefix(line, "|---") || strings.Contains(cells[3], " test ") {
			continue
		}
		rows++
		var packages []string
		names := named.FindAllStringSubmatch(cells[3], -1)
		for _, n := range names {
			if said := strings.FieldsFunc(n[1], func(r rune) bool { return r == ',' || r == ' ' }); len(said) > 0 {
				packages = said
			}
			for _, p := range packages {
				if !hasTest(t, p, n[2]) {
					t.Errorf("%s has no %s", p, n[2])
				}
			}
		}
		if len(names) == 0 || len(packages) == 0 {
			t.Errorf("no test is named for: %s", line)
		}
	}
	if !found || rows < 15 {
		t.Errorf("the threat model has %d threats", rows)
	}
}

// hasTest reports whether a package, which may be named without what all those of the
// control plane begin with, has a test.
func hasTest(t *testing.T, name, test string) bool {
	t.Helper()
	for _, dir := range []string{filepath.Join("..", "..", "engine", "control", name), filepath.Join("..", "..", name)} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "\nfunc "+test+"(") {
				return true
			}
		}
	}
	return false
}
