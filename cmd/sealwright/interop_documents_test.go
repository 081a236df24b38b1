//go:build interop

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// strangers are the programs that documents call, by the names that they call
// them, and the variables that say where they are.
var strangers = map[string]string{
	"cosign": "COSIGN3", "cosign2": "COSIGN2", "notation": "NOTATION", "crane": "CRANE", "skopeo": "SKOPEO", "openssl": "OPENSSL",
}

// elsewhereRE is a hidden command that needs programs of others.
var elsewhereRE = regexp.MustCompile(`(?m)^<!-- elsewhere ([a-z0-9-]+): (.+) -->$`)

// TestInteropDocuments does what the documents about verifiers say, with those
// verifiers. A block "LANGUAGE elsewhere NAME" is done in the shell NAME, after
// and before what go test does in it; one of another language than console is
// written to the file whose name comes next. So is <!-- elsewhere NAME: COMMAND -->
// run without being shown.
func TestInteropDocuments(t *testing.T) {
	bin := t.TempDir()
	for name, variable := range strangers {
		path := os.Getenv(variable)
		if path == "" {
			t.Fatalf("environment variable %s is not set: run make interop", variable)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, file := range documents(t, "docs/formats") {
		t.Run(file, func(t *testing.T) {
			shells := map[string]*shell{}
			done := 0
			for _, b := range elsewhereBlocksOf(t, file) {
				done += performed(t, b, shells)
			}
			if done == 0 {
				t.Errorf("%s has no block that is done elsewhere: the test looks in the wrong place", file)
			}
		})
	}
}

// elsewhereBlocksOf are the blocks of a document and its hidden commands of
// both kinds, in their order.
func elsewhereBlocksOf(t *testing.T, file string) []block {
	t.Helper()
	blocks := blocksOf(t, file)
	text := readDoc(t, file)
	for _, at := range elsewhereRE.FindAllStringSubmatchIndex(text, -1) {
		line := 1 + strings.Count(text[:at[0]], "\n")
		blocks = append(blocks, block{file, line, []string{"run", wordElsewhere, text[at[2]:at[3]]}, "$ " + text[at[4]:at[5]] + "\n"})
	}
	slices.SortStableFunc(blocks, func(a, b block) int { return a.line - b.line })
	return blocks
}

// performed does a block, and returns how many of those are done that only the
// strangers can do.
func performed(t *testing.T, b block, shells map[string]*shell) int {
	t.Helper()
	if b.word(1) != wordElsewhere {
		documented(t, b, shells)
		return 0
	}
	name, file := b.word(2), b.word(3)
	if name == "" {
		return 0
	}
	if shells[name] == nil {
		shells[name] = newShell(t)
	}
	s := shells[name]
	if file == "" {
		b.words = []string{b.word(0), name}
		s.follow(t, b)
		return 1
	}
	// Only root could write where the documents say that keys are.
	body := strings.ReplaceAll(b.body, "/etc/pki/", s.dir+"/")
	if err := os.WriteFile(filepath.Join(s.dir, file), []byte(body), 0o600); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return 1
}
