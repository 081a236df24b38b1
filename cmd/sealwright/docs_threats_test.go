package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// threatTables are the sections that have a table of threats, and how many of them at
// least.
var threatTables = map[string]int{
	"A lying registry": 8, "Events": 15, "Listener": 15, "Stolen or changed state": 10, "Control socket": 6,
	"The control plane's door": 20, "The control plane": 30,
}

// TestThreatsHaveTests: for each threat that stands in a table of the threat model there
// is a test, in the package that it is said to be in, or it is said why there is none.
func TestThreatsHaveTests(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	const head = "| test |\n|---|---|---|\n"
	found := map[string]int{}
	for section := range strings.SplitSeq("\n"+string(doc), "\n## ") {
		title, text, _ := strings.Cut(section, "\n")
		_, table, ok := strings.Cut(text, head)
		if !ok {
			continue
		}
		standard := "" // the package of tests without one
		if title == "The control plane's door" {
			standard = "door"
		}
		table, rest, _ := strings.Cut(table+"\n", "\n\n")
		if strings.Contains(rest, head) {
			t.Errorf("%s has two tables of threats", title)
		}
		for row := range strings.SplitSeq(strings.TrimSpace(table), "\n") {
			found[title]++
			if fault := faultOfThreat(t, row, standard); fault != "" {
				t.Errorf("%s: %s: %s", title, fault, row)
			}
		}
	}
	for title, n := range threatTables {
		if found[title] < n {
			t.Errorf("%s has %d threats, want %d or more", title, found[title], n)
		}
	}
	for title := range found {
		if threatTables[title] == 0 {
			t.Errorf("%s has a table of threats that this test does not know", title)
		}
	}
}

var namedTest = regexp.MustCompile("([a-z/, ]*)`((?:Test|Fuzz)[A-Za-z0-9]+)`")

// faultOfThreat returns what is wrong with a row of a table of threats.
func faultOfThreat(t *testing.T, row, standard string) string {
	t.Helper()
	cells := strings.Split(row, " | ")
	if len(cells) != 3 || !strings.HasSuffix(row, " |") {
		return "not three cells"
	}
	shown := strings.TrimSuffix(cells[2], " |")
	if why, none := strings.CutPrefix(shown, "none: "); none {
		if len(why) < 20 {
			return "it is not said why there is no test"
		}
		return ""
	}
	packages := strings.Fields(standard)
	names := namedTest.FindAllStringSubmatch(shown, -1)
	if len(names) == 0 {
		return "no test is named"
	}
	for _, n := range names {
		said := strings.FieldsFunc(n[1], func(r rune) bool { return r == ',' || r == ' ' })
		if len(said) > 0 && standard == "" {
			packages = said
		}
		if len(packages) == 0 {
			return "no package is named"
		}
		for _, p := range packages {
			if !hasTest(t, p, n[2]) {
				return p + " has no " + n[2]
			}
		}
	}
	return ""
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
