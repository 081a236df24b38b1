package main

import (
	"io/fs"
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

// TestThreatModelNamesTests: each test that is named anywhere in the threat model is
// there.
func TestThreatModelNamesTests(t *testing.T) {
	root := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	there, names := testsOf(t, root), 0
	for _, quoted := range regexp.MustCompile("`[^`]+`").FindAllString(string(doc), -1) {
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w*`).FindAllString(quoted, -1) {
			if names++; !there[name] {
				t.Errorf("the threat model names %s, which is nowhere", name)
			}
		}
	}
	if names < 50 {
		t.Errorf("the threat model names %d tests", names)
	}
}

// testsOf returns the names of the tests of a module: what its test files and suites
// declare.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	names, declared := map[string]bool{}, regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		suite := strings.HasSuffix(filepath.Dir(path), "test") && strings.HasSuffix(path, ".go") // registrytest, journaltest
		if err != nil || e.IsDir() || !suite && !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declared.FindAllStringSubmatch(string(text), -1) {
			names[found[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
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
