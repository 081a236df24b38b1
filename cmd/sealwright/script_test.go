package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// TestScript tells the stories in testdata/script. Each has a registry of its
// own, whose address is $REGISTRY and whose storage is $STORAGE; in the story's
// YAML files these two and $WORK are filled in. Beside testscript's commands
// there are those of scriptCommands.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		Setup:              setUpScript,
		Cmds:               scriptCommands(),
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// scriptKey is where a story keeps its scene.
type scriptKey struct{}

// A scene is what a story plays in.
type scene struct {
	t        testing.TB
	registry *registrytest.Server
	shown    strings.Builder // what the commands run by exits printed
}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value(scriptKey{}).(*scene) }

func setUpScript(env *testscript.Env) error {
	t := env.T().(testing.TB)
	s := &scene{t: t, registry: registrytest.Distribution(t)}
	env.Values[scriptKey{}] = s
	env.Setenv("REGISTRY", s.registry.Host)
	env.Setenv("STORAGE", s.registry.Storage())
	if env.Getenv("GORACE") == "" {
		env.Setenv("GORACE", "atexit_sleep_ms=10") // a second by default, for each command
	}
	files, err := filepath.Glob(filepath.Join(env.WorkDir, "*.yaml"))
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("$REGISTRY", env.Getenv("REGISTRY"), "$STORAGE", env.Getenv("STORAGE"), "$WORK", env.WorkDir)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(fill.Replace(string(text))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"push":       plain("REPO:TAG...", 1, 99, push),
		"push-index": plain("REPO:TAG", 1, 1, pushIndex),
		"move-tag":   plain("REPO:TAG TAG", 2, 2, moveTag),
		"delete":     plain("REPO:TAG...", 1, 99, deleteImage),
		"forge":      plain("REPO:TAG REPO:TAG", 2, 2, forge),
		"digest":     plain("VARIABLE REPO:TAG [CHILD]", 2, 3, digest),
		"signatures": plain("REPO:TAG N", 2, 2, signatures),
		"layout":     plain("DIR", 1, 1, func(ts *testscript.TestScript, args []string) { registrytest.Layout(sceneOf(ts).t, ts.MkAbs(args[0])) }),
		"deny":       plain("", 0, 0, func(ts *testscript.TestScript, _ []string) { deny(sceneOf(ts).registry) }),
		"exits":      plain("CODE COMMAND ARG...", 2, 99, exits),
		"hidden":     plain("SECRET-FILE...", 1, 99, hidden),
		"mode":       plain("PERMISSIONS FILE", 2, 2, mode),
		"empty":      plain("DIR", 1, 1, emptyDirectory),
		"replace":    plain("FILE OLD NEW", 3, 3, replace),
		"jsonenv":    plain("VARIABLE FILE PATH", 3, 3, jsonEnv),
		"jsonhas":    jsonHas,
	}
}

// plain is a command that cannot be negated.
func plain(usage string, least, most int, do func(ts *testscript.TestScript, args []string)) scriptCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < least || len(args) > most {
			ts.Fatalf("usage: %s", usage)
		}
		do(ts, args)
	}
}

// push pushes one new image under every name.
func push(ts *testscript.TestScript, args []string) {
	s := sceneOf(ts)
	image := registrytest.Image(s.t)
	for _, ref := range args {
		s.registry.Push(s.t, ref, image)
	}
}

// pushIndex pushes a new index of two images.
func pushIndex(ts *testscript.TestScript, args []string) {
	s := sceneOf(ts)
	s.registry.Push(s.t, args[0], registrytest.Index(s.t, registrytest.Image(s.t), registrytest.Image(s.t)))
}

// moveTag makes the second tag name what the first one names.
func moveTag(ts *testscript.TestScript, args []string) {
	repository, from, _ := strings.Cut(args[0], ":")
	s := sceneOf(ts)
	registrytest.CopyTag(s.t, s.registry, repository, from, args[1])
}

// deleteImage deletes what tags name, but not its signatures.
func deleteImage(ts *testscript.TestScript, args []string) {
	for _, ref := range args {
		d := manifest(ts, ref).Digest
		ts.Check(remote.Delete(reference(ts, repositoryOf(ref)+"@"+d.String())))
	}
}

// forge puts the signatures of the second image where those of the first belong.
func forge(ts *testscript.TestScript, args []string) {
	s := sceneOf(ts)
	to, from := manifest(ts, args[0]), manifest(ts, args[1])
	got, err := remote.Get(reference(ts, repositoryOf(args[1])+":"+signatureTag(from.Digest)))
	ts.Check(err)
	s.registry.Tag(s.t, repositoryOf(args[0])+":"+signatureTag(to.Digest), got)
}

// digest sets a variable to the digest that a tag names, or to that of an
// index's child, counted from 0.
func digest(ts *testscript.TestScript, args []string) {
	m := manifest(ts, args[1])
	if len(args) == 2 {
		ts.Setenv(args[0], m.Digest.String())
		return
	}
	index, err := v1.ParseIndexManifest(strings.NewReader(string(m.Manifest)))
	ts.Check(err)
	i, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Setenv(args[0], index.Manifests[i].Digest.String())
}

// signatures fails unless an image has that many cosign signatures.
func signatures(ts *testscript.TestScript, args []string) {
	s := sceneOf(ts)
	if n := s.registry.Signatures(s.t, repositoryOf(args[0]), manifest(ts, args[0]).Digest); strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d signatures, want %s", args[0], n, args[1])
	}
}

// deny makes the registry refuse everything.
func deny(r *registrytest.Server) {
	r.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "denied", http.StatusForbidden) })
	})
}

func reference(ts *testscript.TestScript, ref string) name.Reference {
	r, err := name.ParseReference(sceneOf(ts).registry.Host+"/"+ref, name.Insecure)
	ts.Check(err)
	return r
}

func manifest(ts *testscript.TestScript, ref string) *remote.Descriptor {
	got, err := remote.Get(reference(ts, ref))
	ts.Check(err)
	return got
}

func repositoryOf(ref string) string {
	return ref[:strings.IndexAny(ref, ":@")]
}

func signatureTag(d v1.Hash) string { return d.Algorithm + "-" + d.Hex + ".sig" }

// exits runs a command that must end with exactly that exit code. What it
// prints counts for hidden.
func exits(ts *testscript.TestScript, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code = ended.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
	fmt.Fprintln(&sceneOf(ts).shown, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}

// hidden fails if a command that exits ran has printed a line of one of these
// files, as it is.
func hidden(ts *testscript.TestScript, args []string) {
	shown := sceneOf(ts).shown.String()
	for _, file := range args {
		lines := 0
		for line := range strings.Lines(ts.ReadFile(file)) {
			line = strings.TrimSpace(line)
			if len(line) < 8 || strings.HasPrefix(line, "-----") {
				continue
			}
			lines++
			if strings.Contains(shown, line) {
				ts.Fatalf("a line of %s was shown", file)
			}
		}
		if lines == 0 || shown == "" {
			ts.Fatalf("nothing to look for in %s, or nothing was shown", file)
		}
	}
}

func mode(ts *testscript.TestScript, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has permissions %s, want %s", args[1], got, args[0])
	}
}

func emptyDirectory(ts *testscript.TestScript, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

// replace replaces a text wherever it is in a file.
func replace(ts *testscript.TestScript, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o600))
}

// jsonEnv sets a variable to a value in a JSON file.
func jsonEnv(ts *testscript.TestScript, args []string) {
	value, err := at(ts.ReadFile(args[1]), args[2])
	ts.Check(err)
	ts.Setenv(args[0], value)
}

// jsonHas fails unless the value at PATH of a JSON file (stdout is one) is
// VALUE, or without VALUE unless there is one. A path is keys and indexes with
// dots between: 0.counts.reasons.signed; len is a list's length.
func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: jsonhas FILE PATH [VALUE]")
	}
	text := ts.ReadFile(args[0])
	if !json.Valid([]byte(text)) {
		ts.Fatalf("%s is not JSON", args[0])
	}
	got, err := at(text, args[1])
	has := err == nil && (len(args) == 2 || got == args[2])
	if has == neg {
		ts.Fatalf("%s has at %s: %q (%v)", args[0], args[1], got, err)
	}
}

// at returns the value at a path of a JSON text: a text as it is, anything else
// as JSON.
func at(text, path string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", err
	}
	for key := range strings.SplitSeq(path, ".") {
		var ok bool
		switch in := v.(type) {
		case map[string]any:
			v, ok = in[key]
		case []any:
			i, err := strconv.Atoi(key)
			switch {
			case key == "len":
				v, ok = len(in), true
			case err == nil && i < len(in):
				v, ok = in[i], true
			}
		}
		if !ok {
			return "", fmt.Errorf("nothing at %s of %s", key, path)
		}
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	out, err := json.Marshal(v)
	return string(out), err
}
